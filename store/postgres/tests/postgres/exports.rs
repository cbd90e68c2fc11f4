use super::*;
use readvault_store::ErrorKind;

/// A catalog with some rows, and its checkpoint.
async fn exported(cluster: &Cluster) -> (PostgresCatalog, std::path::PathBuf) {
    let catalog = open(&cluster.database().await).await;
    for index in 0..40_u8 {
        put(&catalog, [index], vec![index; 50_000]).await;
    }
    let target = cluster.home().join("checkpoint");
    catalog.checkpoint(&target).await.unwrap();
    (catalog, target)
}

#[tokio::test]
async fn a_loaded_checkpoint_goes_on_where_it_ended() {
    let Some(cluster) = Cluster::start().await else { return };
    let (catalog, target) = exported(&cluster).await;
    let url = cluster.database().await;
    let copy = PostgresCatalog::load(params(&url, 1), &target).await.unwrap();
    assert_eq!(rows(&copy).await.unwrap(), rows(&catalog).await.unwrap());
    assert_eq!(copy.changes(0, 100).await.unwrap(), catalog.changes(0, 100).await.unwrap());
    assert_eq!(put(&copy, "next", "").await, 41);
    let again = PostgresCatalog::load(params(&url, 1), &target).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    assert_eq!(rows(&copy).await.unwrap().len(), 41);
}

#[tokio::test]
async fn a_damaged_checkpoint_leaves_the_database_empty() {
    let Some(cluster) = Cluster::start().await else { return };
    let (_catalog, target) = exported(&cluster).await;
    let file = target.join("catalog.export");
    let sound = std::fs::read(&file).unwrap();
    assert!(sound.len() > 2_000_000, "several blocks");
    let url = cluster.database().await;
    let mut bad = Vec::new();
    for step in 0..20 {
        let mut flipped = sound.clone();
        flipped[step * sound.len() / 20 + 72] ^= 4;
        bad.push(flipped);
    }
    for length in [0, 7, 60, 72, 77, sound.len() / 2, sound.len() - 1] {
        bad.push(sound[..length].to_vec());
    }
    bad.push([&sound[..], b"\0"].concat());
    for bytes in bad {
        std::fs::write(&file, bytes).unwrap();
        let error = PostgresCatalog::load(params(&url, 1), &target).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
    std::fs::write(&file, &sound).unwrap();
    let error = PostgresCatalog::load(params(&url, 2), &target).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyUnavailable);
    let loaded = PostgresCatalog::load(params(&url, 1), &target).await.unwrap();
    assert_eq!(rows(&loaded).await.unwrap().len(), 40);
}
