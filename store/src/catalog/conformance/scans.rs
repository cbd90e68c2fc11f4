//! Ranges, folds and pages.

use std::ops::Bound;

use super::*;
use crate::catalog::PAGE_ITEMS_MAX;

const PLAIN: Fold = Fold { after: 0, delimiter: None, version_suffix: 0 };

pub(super) async fn bounds(catalog: &dyn Catalog) {
    let all = ["", "a", "a\0", "aa", "ab", "b", "ba"];
    apply(catalog, put_all(ALPHA, &all)).await;
    apply(catalog, put_all(BETA, &["ab", "zz"])).await;
    let mut raw = Commit::new();
    raw.put(RowKey::new(BETA, [0xFF]), "ff").put(RowKey::new(BETA, [0xFF, 0xFF, 1]), "ffff01");
    apply(catalog, raw).await;

    let range = |start, end| ScanRange { table: ALPHA, start, end };
    let at = |key: &str| Bound::Included(key.as_bytes().to_vec());
    let beyond = |key: &str| Bound::Excluded(key.as_bytes().to_vec());
    let cases = [
        (range(Bound::Unbounded, Bound::Unbounded), &all[..]),
        (range(at("a"), beyond("b")), &["a", "a\0", "aa", "ab"]),
        (range(beyond("a"), at("b")), &["a\0", "aa", "ab", "b"]),
        (range(beyond("aaa"), Bound::Unbounded), &["ab", "b", "ba"]),
        (range(beyond(""), beyond("a")), &[]),
        (range(at("b"), beyond("a")), &[]),
        (range(at("b"), beyond("b")), &[]),
        (range(at("b"), at("b")), &["b"]),
        (range(at("zz"), Bound::Unbounded), &[]),
        (ScanRange::prefix(ALPHA, ""), &all[..]),
        (ScanRange::prefix(ALPHA, "a"), &["a", "a\0", "aa", "ab"]),
        (ScanRange::prefix(ALPHA, "a").after("aa"), &["ab"]),
        (ScanRange::prefix(ALPHA, "a").from("aa"), &["aa", "ab"]),
    ];
    for (range, expected) in cases {
        for limit in [1, 2, 3, PAGE_ITEMS_MAX] {
            assert_eq!(names(&walk(catalog, &range, &PLAIN, limit).await), expected, "{range:?}");
        }
    }
    let high = walk(catalog, &ScanRange::prefix(BETA, [0xFF]), &PLAIN, 1).await;
    assert_eq!(high.len(), 2, "a prefix of 0xFF has no end");

    let all = ScanRange::prefix(ALPHA, "");
    let exact = page(catalog, &all, &PLAIN, 7).await;
    assert_eq!((exact.items.len(), exact.next), (7, None), "the last page says so");
    for limit in [0, PAGE_ITEMS_MAX + 1] {
        let error = catalog.scan(&all, &PLAIN, limit).await.expect_err("must be refused");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    let empty = Fold { delimiter: Some(Vec::new()), ..PLAIN };
    assert!(catalog.scan(&all, &empty, 1).await.is_err(), "a delimiter is never empty");
}

pub(super) async fn groups(catalog: &dyn Catalog) {
    let rows = ["x/", "x/a", "x/b/1", "x/b/2", "x/b/2/3", "x/c", "x/d//", "x/d//1", "y/e"];
    apply(catalog, put_all(ALPHA, &rows)).await;
    let mut raw = Commit::new();
    raw.put(RowKey::new(ALPHA, b"x/\xFF\xFF".to_vec()), "high");
    apply(catalog, raw).await;
    let slash = |after| Fold { after, delimiter: Some(b"/".to_vec()), version_suffix: 0 };
    let double = Fold { delimiter: Some(b"//".to_vec()), ..PLAIN };
    let all = ScanRange::prefix(ALPHA, "");
    let below = ScanRange::prefix(ALPHA, "x/");
    let to = ScanRange::prefix(ALPHA, "x/b").from("x/b/2");
    let high = "x/\u{FFFD}\u{FFFD}";
    let cases = [
        (&all, slash(0), vec!["x/…", "y/…"]),
        (&below, slash(2), vec!["x/", "x/a", "x/b/…", "x/c", "x/d/…", high]),
        (&all, slash(1), vec!["x/…", "y/…"]),
        (
            &below,
            slash(4),
            rows[..2]
                .iter()
                .copied()
                .chain(["x/b/1", "x/b/2", "x/b/2/…", "x/c", "x/d//…", high])
                .collect(),
        ),
        (&below, double, vec!["x/", "x/a", "x/b/1", "x/b/2", "x/b/2/3", "x/c", "x/d//…", high]),
        (&to, slash(2), vec!["x/b/…"]),
        (
            &below,
            slash(100),
            vec!["x/", "x/a", "x/b/1", "x/b/2", "x/b/2/3", "x/c", "x/d//", "x/d//1", high],
        ),
    ];
    for (range, fold, expected) in cases {
        for limit in [1, 2, 3, 4, PAGE_ITEMS_MAX] {
            let found = walk(catalog, range, &fold, limit).await;
            assert_eq!(names(&found), expected, "{fold:?} by {limit}");
        }
    }
    // A page that ends with a group goes on behind it.
    let first = page(catalog, &all, &slash(0), 1).await;
    assert_eq!(first.next.as_deref(), Some(&b"y/e"[..]));
    // A group whose name is all 0xFF is the last item.
    let mut raw = Commit::new();
    raw.put(RowKey::new(BETA, b"\xFFa".to_vec()), "").put(RowKey::new(BETA, b"\xFFb".to_vec()), "");
    apply(catalog, raw).await;
    let fold = Fold { delimiter: Some(vec![0xFF]), ..PLAIN };
    let last = page(catalog, &ScanRange::prefix(BETA, ""), &fold, 5).await;
    assert_eq!((last.items, last.next), (vec![Item::Group(vec![0xFF])], None));
}

pub(super) async fn versions(catalog: &dyn Catalog) {
    // One thing with 40 versions between two with few; and keys shorter than a version.
    let mut commit = put_all(ALPHA, &["a.91", "a.92", "c.50", "z", ""]);
    for version in 10..50 {
        commit.put(RowKey::new(ALPHA, format!("b.{version}")), "old");
    }
    apply(catalog, commit).await;
    let fold = Fold { version_suffix: 2, ..PLAIN };
    let all = ScanRange::prefix(ALPHA, "");
    for limit in [1, 2, 3, 4, PAGE_ITEMS_MAX] {
        let found = walk(catalog, &all, &fold, limit).await;
        assert_eq!(names(&found), ["", "a.91", "b.10", "c.50", "z"], "by {limit}");
    }
    let first = page(catalog, &all, &fold, 3).await;
    assert_eq!(first.next.as_deref(), Some(&b"c.50"[..]), "never between two versions");
    // A walk may begin at any version: how a reader finds the newest one before a given time.
    let late = walk(catalog, &all.from("b.30"), &fold, 2).await;
    assert_eq!(names(&late), ["b.30", "c.50", "z"]);
}

pub(super) async fn groups_of_versions(catalog: &dyn Catalog) {
    // The version bytes of "a" hold the delimiter; they are no part of its name.
    let rows = ["a.1/", "a.2/", "b/x.1/", "b/x.22", "b/y.33", "c.44", "c.4/"];
    apply(catalog, put_all(ALPHA, &rows)).await;
    let fold = Fold { after: 0, delimiter: Some(b"/".to_vec()), version_suffix: 2 };
    for limit in [1, 2, 3, PAGE_ITEMS_MAX] {
        let found = walk(catalog, &ScanRange::prefix(ALPHA, ""), &fold, limit).await;
        assert_eq!(names(&found), ["a.1/", "b/…", "c.4/"], "by {limit}");
    }
}

pub(super) async fn large_pages_end_early(catalog: &dyn Catalog) {
    for index in 0..10_u8 {
        let mut commit = Commit::new();
        commit.put(RowKey::new(ALPHA, [index]), vec![index; 1_000_000]);
        apply(catalog, commit).await;
    }
    let all = ScanRange::prefix(ALPHA, "");
    let first = page(catalog, &all, &PLAIN, PAGE_ITEMS_MAX).await;
    assert!(first.next.is_some(), "ten megabytes are not one page");
    let items = walk(catalog, &all, &PLAIN, PAGE_ITEMS_MAX).await;
    let whole = |(index, item): (usize, &Item)| match item {
        Item::Row(row) => row.value.len() == 1_000_000 && usize::from(row.value[0]) == index,
        Item::Group(_) => false,
    };
    assert_eq!(items.len(), 10);
    assert!(items.iter().enumerate().all(whole));
}
