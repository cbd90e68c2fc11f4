use super::*;
use readvault_store::ErrorKind;

#[tokio::test]
async fn keeps_everything_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let catalog = open(directory.path());
    let mut last = 0;
    for index in 0..50_u8 {
        let durability = if index % 2 == 0 { Durability::Synced } else { Durability::Ordered };
        last = put_as(&catalog, [index], vec![index; 100], durability).await;
    }
    let before = rows(&catalog).await.unwrap();
    let changes = catalog.changes(0, 1000).await.unwrap();
    drop(catalog);

    let catalog = open(directory.path());
    assert_eq!(rows(&catalog).await.unwrap(), before);
    assert_eq!(catalog.changes(0, 1000).await.unwrap(), changes);
    assert!(put(&catalog, "next", "").await > last, "versions go on");
    assert_eq!(catalog.changes(changes[49].sequence, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_table_can_be_added_and_a_missing_one_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    put(&open(directory.path()), "a", "b").await;
    let more = [ALPHA, Table("gamma")];
    let sealer = RowSealer::new(CatalogKey::from_bytes(&[1; 32]));
    let catalog =
        RocksCatalog::open(directory.path(), &more, Arc::new(sealer), Arc::new(System)).unwrap();
    let mut commit = Commit::new();
    commit.put(RowKey::new(more[1], "c"), "d").unchanged(RowKey::new(ALPHA, "a"), 1);
    assert!(matches!(catalog.commit(commit).await.unwrap(), Outcome::Applied { .. }));
    let mut unknown = Commit::new();
    unknown.put(RowKey::new(ALPHA, "half"), "").put(RowKey::new(Table("delta"), "c"), "d");
    assert_eq!(catalog.commit(unknown).await.unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(catalog.read(&[RowKey::new(ALPHA, "half")]).await.unwrap(), [None]);
}

#[tokio::test]
async fn another_key_and_a_second_opening_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let catalog = open(directory.path());
    put(&catalog, "a", "b").await;
    assert_eq!(open_with(directory.path(), 1).unwrap_err().kind(), ErrorKind::Unavailable);
    drop(catalog);
    assert_eq!(open_with(directory.path(), 2).unwrap_err().kind(), ErrorKind::KeyUnavailable);
    assert_eq!(rows(&open(directory.path())).await.unwrap().len(), 1);
}

#[tokio::test]
async fn versions_go_on_above_a_floor() {
    let directory = tempfile::tempdir().unwrap();
    let open_above = |floor| {
        let sealer = Arc::new(RowSealer::new(CatalogKey::from_bytes(&[1; 32])));
        RocksCatalog::open_above(directory.path(), TABLES, (sealer, Arc::new(System)), floor)
    };
    let first = put(&open(directory.path()), "a", "b").await;
    assert_eq!(put(&open_above(first + 1000).unwrap(), "b", "c").await, first + 1001);
    assert_eq!(put(&open_above(5).unwrap(), "c", "d").await, first + 1002, "a floor never lowers");
    assert_eq!(rows(&open(directory.path())).await.unwrap().len(), 3);
}
