//! Objects over a vault in memory: what the pure tests of the files below can't show.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use readvault_ambient::System;
use readvault_store::{
    catalog::{Fold, ScanRange},
    testing,
};

use super::{
    Attributes, Objects, Settings,
    condition::{EtagIs, WriteConditions},
    copy::{CopyObject, Directive},
    find::Name,
    get::{Download, GetObject},
    list::{Entry, ListObjects, Start},
    put::PutObject,
};
use crate::{
    Fault, FaultKind,
    authorize::{Authorizer, Permit},
    body::{Body, Declared},
    bucket::{Buckets, create::NewBucket},
    core::{Core, Site},
    identity::{Caller, Principal},
    tables,
};

/// Root, who may do everything.
pub(crate) fn root(authorizer: &Authorizer) -> Permit {
    let caller = Caller { principal: Principal::Root, ..Caller::anonymous() };
    authorizer.authorize(&caller, &[]).unwrap()
}

/// A vault in memory with one bucket, `b`.
pub(crate) async fn objects() -> (Objects, Permit) {
    let site = Site { account: "123456789012".into(), region: "us-east-1".into() };
    let core = Core::new(testing::vault().await, site, Arc::new(System), Arc::new(System));
    let buckets = Buckets::new(core);
    let permit = root(&Authorizer::default());
    let new = NewBucket { name: "bkt".into(), ..NewBucket::default() };
    buckets.create(&permit, new).await.unwrap();
    (Objects::new(buckets, Settings::default()), permit)
}

fn target(key: &str) -> PutObject {
    PutObject { bucket: "bkt".into(), key: key.into(), ..PutObject::default() }
}

fn body(bytes: impl Into<Bytes>) -> Body {
    Body::from_bytes(bytes.into())
}

async fn read(objects: &Objects, permit: &Permit, key: &str) -> Result<Vec<u8>, FaultKind> {
    let name = Name::new("bkt", key);
    let got = objects.get(permit, &name, &GetObject::default()).await;
    match got.map_err(|fault| fault.kind)?.1 {
        Download::Whole(bytes) => Ok(bytes.to_vec()),
        Download::Stream(live) => {
            let pieces: Vec<Bytes> = live.try_collect().await.map_err(|fault| fault.kind)?;
            Ok(pieces.concat())
        }
    }
}

async fn rows(objects: &Objects) -> usize {
    let range = ScanRange::prefix(tables::OBJECTS, Vec::new());
    let page = objects.core().catalog().scan(&range, &Fold::default(), 1000).await.unwrap();
    page.items.len()
}

#[tokio::test]
async fn what_is_put_is_read_back_whatever_its_length() {
    let (objects, permit) = objects().await;
    for length in [0, 1, 65_536, 65_537, 1 << 20, (3 << 20) + 5] {
        let bytes: Vec<u8> = (0..length).map(|n: u32| (n ^ (n >> 9)) as u8).collect();
        objects.put(&permit, target("k"), body(bytes.clone())).await.unwrap();
        assert!(read(&objects, &permit, "k").await.unwrap() == bytes, "{length}");
    }
    assert_eq!(rows(&objects).await, 1);
    objects.delete(&permit, &Name::new("bkt", "k"), None).await.unwrap();
    objects.delete(&permit, &Name::new("bkt", "k"), None).await.unwrap();
    assert_eq!(read(&objects, &permit, "k").await, Err(FaultKind::NoSuchKey));
}

#[tokio::test]
async fn a_bad_body_leaves_what_was_there() {
    let (objects, permit) = objects().await;
    objects.put(&permit, target("k"), body("first")).await.unwrap();
    let wrong = Declared { content_md5: Some([0; 16]), ..Declared::default() };
    let damaged = Body { declared: wrong, ..body("second") };
    let short = Body { length: 7, ..body("second") };
    let broken = Body {
        stream: futures::stream::iter([
            Ok(Bytes::from_static(b"sec")),
            Err(Fault::new(FaultKind::PayloadHashMismatch, "x").into()),
        ])
        .boxed(),
        ..body("second")
    };
    for (bad, kind) in [
        (damaged, FaultKind::BadDigest),
        (short, FaultKind::IncompleteBody),
        (broken, FaultKind::PayloadHashMismatch),
    ] {
        let fault = objects.put(&permit, target("k"), bad).await.unwrap_err();
        assert_eq!(fault.kind, kind);
        assert_eq!(read(&objects, &permit, "k").await.unwrap(), b"first");
    }
}

#[tokio::test]
async fn of_many_conditional_creates_one_wins() {
    let (objects, permit) = objects().await;
    let create = |n: u8| {
        let (objects, permit) = (objects.clone(), permit.clone());
        let absent = WriteConditions { matches: None, absent: true };
        let target = PutObject { conditions: absent, ..target("once") };
        async move { objects.put(&permit, target, body(vec![n])).await }
    };
    let answers = futures::future::join_all((0..16).map(create)).await;
    let won: Vec<usize> = (0..16).filter(|n| answers[*n].is_ok()).collect();
    assert_eq!(won.len(), 1);
    assert_eq!(read(&objects, &permit, "once").await.unwrap(), [won[0] as u8]);
    for fault in answers.into_iter().filter_map(Result::err) {
        assert_eq!(fault.kind, FaultKind::PreconditionFailed);
    }
}

#[tokio::test]
async fn unconditional_puts_of_one_key_all_succeed() {
    let (objects, permit) = objects().await;
    let put = |n: u8| {
        let (objects, permit) = (objects.clone(), permit.clone());
        async move { objects.put(&permit, target("k"), body(vec![n; 100_000])).await }
    };
    let answers = futures::future::join_all((0..16).map(put)).await;
    assert!(answers.iter().all(Result::is_ok));
    let last = read(&objects, &permit, "k").await.unwrap();
    assert!(last.len() == 100_000 && last.iter().all(|byte| *byte == last[0]));
}

#[tokio::test]
async fn copies_keep_bytes_and_what_is_said() {
    let (objects, permit) = objects().await;
    let said = Attributes {
        metadata: vec![("a".into(), "1".into())],
        tags: vec![("t".into(), "1".into())],
        ..Attributes::default()
    };
    let bytes = vec![7; 200_000];
    let from = PutObject { attributes: said.clone(), ..target("from") };
    let first = objects.put(&permit, from, body(bytes.clone())).await.unwrap();
    let source = Name::new("bkt", "from");
    let copy = CopyObject { target: target("to"), ..CopyObject::default() };
    objects.copy(&permit, &source, copy.clone()).await.unwrap();
    objects.delete(&permit, &source, Some(EtagIs::Tag(first.etag))).await.unwrap();
    assert!(read(&objects, &permit, "to").await.unwrap() == bytes);
    let to = Name::new("bkt", "to");
    let head = objects.head(&permit, &to, &GetObject::default()).await.unwrap();
    assert_eq!(head.found.attributes, said);
    let itself = CopyObject { target: target("to"), ..copy };
    assert!(objects.copy(&permit, &to, itself.clone()).await.is_err());
    let replaced = CopyObject { metadata: Directive::Replace, ..itself };
    objects.copy(&permit, &to, replaced).await.unwrap();
    assert!(read(&objects, &permit, "to").await.unwrap() == bytes);
}

#[tokio::test]
async fn lists_agree_with_a_plain_model() {
    let (objects, permit) = objects().await;
    let mut keys: Vec<String> = ["a", "a/", "a/b", "a/b/c", "a/c", "a-", "b", "b/x", "é/ü", "z//y"]
        .map(String::from)
        .to_vec();
    for key in &keys {
        objects.put(&permit, target(key), body("x")).await.unwrap();
    }
    keys.sort();
    for prefix in ["", "a", "a/", "b/", "é", "nothing"] {
        for delimiter in [None, Some("/"), Some("b")] {
            let mut expected: Vec<String> = Vec::new();
            for key in keys.iter().filter(|key| key.starts_with(prefix)) {
                let cut =
                    delimiter.and_then(|d| key[prefix.len()..].find(d).map(|at| at + d.len()));
                let name = cut.map_or(key.as_str(), |cut| &key[..prefix.len() + cut]);
                if expected.last().map(String::as_str) != Some(name) {
                    expected.push(name.into());
                }
            }
            for limit in [1, 2, 3, 100] {
                assert_eq!(
                    walk(&objects, &permit, (prefix, delimiter, limit, false)).await,
                    expected
                );
                assert_eq!(
                    walk(&objects, &permit, (prefix, delimiter, limit, true)).await,
                    expected
                );
            }
        }
    }
}

/// All names of a list, page by page: by cursor, or by the name of the last item.
async fn walk(
    objects: &Objects,
    permit: &Permit,
    (prefix, delimiter, limit, by_name): (&str, Option<&str>, usize, bool),
) -> Vec<String> {
    let mut names = Vec::new();
    let mut start = Start::First;
    loop {
        let list = ListObjects {
            prefix: prefix.into(),
            delimiter: delimiter.map(Into::into),
            start,
            limit,
        };
        let page = objects.list(permit, "bkt", &list).await.unwrap();
        assert!(page.entries.len() <= limit);
        names.extend(page.entries.iter().map(Entry::name).map(str::to_owned));
        let Some(next) = page.next else { return names };
        start = match names.last() {
            Some(last) if by_name => Start::After(last.clone()),
            _ => Start::At(next),
        };
    }
}

#[tokio::test]
async fn a_bucket_is_deleted_only_when_nothing_is_in_it() {
    let (objects, permit) = objects().await;
    let buckets = objects.buckets().clone();
    objects.put(&permit, target("k"), body("x")).await.unwrap();
    let fault = buckets.delete(&permit, "bkt").await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::NotEmpty);
    objects.put(&permit, target("k"), body("y")).await.unwrap();
    assert!(!buckets.load("bkt").await.unwrap().value.closing);
    objects.delete(&permit, &Name::new("bkt", "k"), None).await.unwrap();
    for round in 0..20 {
        let put = objects.put(&permit, target("race"), body("x"));
        let (put, deleted) = futures::future::join(put, buckets.delete(&permit, "bkt")).await;
        match (put, deleted) {
            (Ok(_), Err(fault)) => {
                assert_eq!(fault.kind, FaultKind::NotEmpty);
                objects.delete(&permit, &Name::new("bkt", "race"), None).await.unwrap();
            }
            (Err(_), Ok(())) => {
                let new = NewBucket { name: "bkt".into(), ..NewBucket::default() };
                buckets.create(&permit, new).await.unwrap();
            }
            (Ok(_), Ok(())) => panic!("round {round}: an object was put into a deleted bucket"),
            (Err(put), Err(deleted)) => panic!("round {round}: {put} and {deleted}"),
        }
        assert_eq!(rows(&objects).await, 0);
    }
}

#[tokio::test]
async fn a_revoked_permit_ends_a_stream() {
    let (objects, _) = objects().await;
    let authorizer = Authorizer::default();
    let permit = root(&authorizer);
    objects.put(&permit, target("k"), body(vec![1; 4 << 20])).await.unwrap();
    let get = GetObject::default();
    let (_, download) = objects.get(&permit, &Name::new("bkt", "k"), &get).await.unwrap();
    let Download::Stream(mut live) = download else { panic!("read whole") };
    assert!(live.next().await.unwrap().is_ok());
    authorizer.revoke();
    // Root still may, so the stream goes on: the permit was judged anew and holds.
    assert!(live.next().await.unwrap().is_ok());
}
