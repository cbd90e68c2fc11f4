//! Figures beside RocksDB in one run: `cargo test … --workspace --test postgres -- --ignored figures --nocapture`.

use super::*;
use readvault_ambient::Clock;
use readvault_store_rocks::RocksCatalog;

const COMMITS: u64 = 4_000;
const PREFIXES: u64 = 1_000;
const ROWS_A_PREFIX: u64 = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "figures, not a check"]
async fn figures() {
    let Some(cluster) = Cluster::start_with(&["fsync=on"]).await else { return };
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    let sealer = RowSealer::new(CatalogKey::from_bytes(&[1; 32]));
    let rocks = RocksCatalog::open(directory.path(), TABLES, Arc::new(sealer), Arc::new(System));
    let postgres: Arc<dyn Catalog> = Arc::new(open(&cluster.database().await).await);
    let rocks: Arc<dyn Catalog> = Arc::new(rocks.unwrap());
    for (name, catalog) in [("rocksdb", rocks), ("postgresql", postgres)] {
        for clients in [1, 16, 64] {
            commits(name, &catalog, clients).await;
        }
        fill(&catalog).await;
        reads(name, &catalog).await;
        scans(name, &*catalog).await;
    }
}

fn now() -> std::time::Duration {
    System.monotonic()
}

async fn commits(name: &str, catalog: &Arc<dyn Catalog>, clients: u64) {
    let each = (COMMITS / clients).min(500);
    let began = now();
    let mut tasks = tokio::task::JoinSet::new();
    for client in 0..clients {
        let catalog = Arc::clone(catalog);
        tasks.spawn(async move {
            for round in 0..each {
                let key = format!("commit/{clients}/{client}/{round}");
                let outcome = catalog.commit(putting(key, [7; 200])).await.unwrap();
                assert!(matches!(outcome, Outcome::Applied { .. }));
            }
        });
    }
    tasks.join_all().await;
    let seconds = (now() - began).as_secs_f64();
    let rate = (clients * each) as f64 / seconds;
    println!("{name}: {clients} clients: {rate:.0} synced commits/s");
}

async fn fill(catalog: &Arc<dyn Catalog>) {
    for prefix in 0..PREFIXES {
        let mut commit = Commit::new();
        for row in 0..ROWS_A_PREFIX {
            commit
                .put(RowKey::new(TABLES[1], format!("bucket/{prefix:06}/{row:06}")), vec![1; 200]);
        }
        assert!(matches!(catalog.commit(commit).await.unwrap(), Outcome::Applied { .. }));
    }
}

async fn reads(name: &str, catalog: &Arc<dyn Catalog>) {
    for clients in [1, 16] {
        let began = now();
        let mut tasks = tokio::task::JoinSet::new();
        for client in 0..clients {
            let catalog = Arc::clone(catalog);
            tasks.spawn(async move {
                for round in 0..500_u64 {
                    let prefix = (client * 37 + round) % PREFIXES;
                    let row = RowKey::new(TABLES[1], format!("bucket/{prefix:06}/000050"));
                    assert!(catalog.read(&[row]).await.unwrap()[0].is_some());
                }
            });
        }
        tasks.join_all().await;
        let rate = (clients * 500) as f64 / (now() - began).as_secs_f64();
        println!("{name}: {clients} clients: {rate:.0} reads of a row/s");
    }
}

async fn scans(name: &str, catalog: &dyn Catalog) {
    let all = ScanRange::prefix(TABLES[1], "bucket/");
    let slash = Fold { after: 7, delimiter: Some(b"/".to_vec()), version_suffix: 0 };
    for (what, fold) in
        [("1,000 common prefixes of 100,000 rows", slash), ("1,000 rows", Fold::default())]
    {
        let mut times = Vec::new();
        for _ in 0..20 {
            let began = now();
            assert_eq!(catalog.scan(&all, &fold, 1000).await.unwrap().items.len(), 1000);
            times.push((now() - began).as_secs_f64() * 1000.0);
        }
        times.sort_by(f64::total_cmp);
        println!("{name}: {what}: {:.2} ms (median of 20)", times[10]);
    }
}
