//! Uploads in parts over a vault in memory.

use bytes::Bytes;
use futures::TryStreamExt as _;
use readvault_store::catalog::{Fold, ScanRange};

use super::{
    ChecksumKind, Multiparts, PART_BYTES_MIN, UploadName, check_room, complete::Complete,
    list::ListUploads, part_list::NamedPart,
};
use crate::{
    FaultKind,
    authorize::Permit,
    body::{Algorithm, Body},
    object::{
        Objects,
        find::Name,
        get::{Download, GetObject},
        put::PutObject,
        range::Wanted,
        tests::objects,
    },
    tables,
};

const KEY: &str = "a/whole";

fn target() -> PutObject {
    PutObject { bucket: "bkt".into(), key: KEY.into(), ..PutObject::default() }
}

fn piece(seed: u8, length: u64) -> Bytes {
    (0..length).map(|n| (n as u8).wrapping_mul(seed) ^ (n >> 8) as u8).collect()
}

async fn rows(objects: &Objects, table: readvault_store::catalog::Table) -> usize {
    let range = ScanRange::prefix(table, Vec::new());
    let page = objects.core().catalog().scan(&range, &Fold::default(), 1000).await.unwrap();
    page.items.len()
}

async fn read(objects: &Objects, permit: &Permit, wanted: Wanted) -> Vec<u8> {
    let get = GetObject { wanted, ..GetObject::default() };
    let name = Name::new("bkt", KEY);
    match objects.get(permit, &name, &get).await.unwrap().1 {
        Download::Whole(bytes) => bytes.to_vec(),
        Download::Stream(live) => live.try_collect::<Vec<Bytes>>().await.unwrap().concat(),
    }
}

#[tokio::test]
async fn parts_become_the_object_and_nothing_else_stays() {
    let (objects, permit) = objects().await;
    let multiparts = Multiparts::new(objects.clone());
    let checksum = Some((Algorithm::Crc64Nvme, ChecksumKind::FullObject));
    let upload = multiparts.create(&permit, target(), checksum).await.unwrap();
    let name = UploadName { bucket: "bkt", key: KEY, id: &upload.id };
    let pieces = [piece(3, PART_BYTES_MIN), piece(5, PART_BYTES_MIN + 7), piece(7, 1)];
    let mut named = Vec::new();
    for (number, bytes) in [2, 4, 9].into_iter().zip(&pieces) {
        let early = Body::from_bytes(piece(1, 9));
        multiparts.put_part(&permit, &name, number, early).await.unwrap();
        let body = Body::from_bytes(bytes.clone());
        let part = multiparts.put_part(&permit, &name, number, body).await.unwrap();
        named.push(NamedPart { number, etag: Some(part.etag), checksums: part.checksums });
    }
    assert_eq!(rows(&objects, tables::PARTS).await, 3);
    let whole = pieces.concat();
    let wrong = Complete {
        parts: named.clone(),
        checksums: vec![Algorithm::Crc64Nvme.of(b"x")],
        ..Complete::default()
    };
    let fault = multiparts.complete(&permit, &name, wrong).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::BadDigest);
    let complete = Complete {
        parts: named,
        checksums: vec![Algorithm::Crc64Nvme.of(&whole)],
        length: Some(whole.len() as u64),
        ..Complete::default()
    };
    let answer = multiparts.complete(&permit, &name, complete.clone()).await.unwrap();
    assert!(answer.etag.ends_with("-3"));
    assert!(read(&objects, &permit, Wanted::Whole).await == whole);
    assert!(read(&objects, &permit, Wanted::Part(2)).await == pieces[1]);
    assert_eq!(rows(&objects, tables::PARTS).await, 0);
    assert_eq!(rows(&objects, tables::MULTIPARTS).await, 0);
    let again = multiparts.complete(&permit, &name, complete).await.unwrap_err();
    assert_eq!(again.kind, FaultKind::NoSuchUpload);
}

#[tokio::test]
async fn a_part_never_appears_behind_an_abort() {
    let (objects, permit) = objects().await;
    let multiparts = Multiparts::new(objects.clone());
    for _ in 0..10 {
        let upload = multiparts.create(&permit, target(), None).await.unwrap();
        let name = UploadName { bucket: "bkt", key: KEY, id: &upload.id };
        let put = multiparts.put_part(&permit, &name, 1, Body::from_bytes(piece(3, 100_000)));
        let (put, aborted) = futures::future::join(put, multiparts.abort(&permit, &name)).await;
        if aborted.is_err() {
            multiparts.abort(&permit, &name).await.unwrap();
        }
        drop(put);
        assert_eq!(rows(&objects, tables::PARTS).await, 0);
        assert_eq!(rows(&objects, tables::MULTIPARTS).await, 0);
    }
}

#[tokio::test]
async fn many_parts_end_behind_the_answer_or_in_a_sweep() {
    let (objects, permit) = objects().await;
    let multiparts = Multiparts::new(objects.clone());
    let upload = multiparts.create(&permit, target(), None).await.unwrap();
    let name = UploadName { bucket: "bkt", key: KEY, id: &upload.id };
    for number in 1..=300 {
        let body = Body::from_bytes(piece(3, 10));
        multiparts.put_part(&permit, &name, number, body).await.unwrap();
    }
    multiparts.abort(&permit, &name).await.unwrap();
    let fault = multiparts.list_parts(&permit, &name, 0, 10).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::NoSuchUpload);
    multiparts.sweep().await.unwrap();
    assert_eq!(rows(&objects, tables::PARTS).await, 0);
    assert_eq!(rows(&objects, tables::MULTIPARTS).await, 0);
    objects.buckets().delete(&permit, "bkt").await.unwrap();
}

#[tokio::test]
async fn uploads_are_listed_page_by_page() {
    let (objects, permit) = objects().await;
    let multiparts = Multiparts::new(objects.clone());
    let mut expected = Vec::new();
    for key in ["a", "b", "b", "b/x", "c"] {
        let target = PutObject { key: key.into(), ..target() };
        let upload = multiparts.create(&permit, target, None).await.unwrap();
        expected.push((upload.key, upload.id));
    }
    expected.sort();
    let mut found = Vec::new();
    let mut list = ListUploads { limit: 2, ..ListUploads::default() };
    loop {
        let page = multiparts.list(&permit, "bkt", &list).await.unwrap();
        found.extend(page.uploads.into_iter().map(|upload| (upload.key, upload.id)));
        let Some((key, id)) = page.next else { break };
        (list.key_marker, list.upload_marker) = (Some(key), Some(id));
    }
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_bucket_holds_so_many_open_uploads_and_no_more() {
    let (objects, permit) = objects().await;
    let multiparts = Multiparts::new(objects.clone());
    for _ in 0..2 {
        multiparts.create(&permit, target(), None).await.unwrap();
    }
    let store = objects.buckets().lookup("bkt").await.unwrap().objects().unwrap().id;
    assert!(check_room(objects.core(), store, 3).await.is_ok());
    let fault = check_room(objects.core(), store, 2).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::QuotaExceeded);
}
