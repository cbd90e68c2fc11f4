use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use readvault_store::ErrorKind;

#[tokio::test]
async fn keeps_everything_and_goes_on() {
    let Some(cluster) = Cluster::start().await else { return };
    let url = cluster.database().await;
    let catalog = open(&url).await;
    let mut last = 0;
    for index in 0..50_u8 {
        let durability = if index % 2 == 0 { Durability::Synced } else { Durability::Ordered };
        let commit = Commit { durability, ..putting([index], vec![index; 100]) };
        let Outcome::Applied { version } = catalog.commit(commit).await.unwrap() else { panic!() };
        last = version;
    }
    let before = rows(&catalog).await.unwrap();
    let changes = catalog.changes(0, 1000).await.unwrap();
    drop(catalog);

    let more = [ALPHA, Table("gamma")];
    let catalog =
        PostgresCatalog::open(PostgresParams { tables: more.to_vec(), ..params(&url, 1) });
    let catalog = catalog.await.unwrap();
    assert_eq!(rows(&catalog).await.unwrap(), before);
    assert_eq!(catalog.changes(0, 1000).await.unwrap(), changes);
    assert_eq!(put(&catalog, "next", "").await, last + 1, "versions go on");
    let mut unknown = putting("half", "");
    unknown.put(RowKey::new(Table("delta"), "c"), "d");
    assert_eq!(catalog.commit(unknown).await.unwrap_err().kind(), ErrorKind::Internal);
    let mut added = Commit::new();
    added.put(RowKey::new(more[1], "c"), "d").absent(RowKey::new(ALPHA, "half"));
    assert!(matches!(catalog.commit(added).await.unwrap(), Outcome::Applied { .. }));
}

#[tokio::test]
async fn who_opens_the_database_fences_off_whoever_had_it() {
    let Some(cluster) = Cluster::start().await else { return };
    let url = cluster.database().await;
    let first = open(&url).await;
    put(&first, "a", "first").await;
    let second = open(&url).await;
    put(&second, "b", "second").await;
    for _ in 0..3 {
        let error = first.commit(putting("a", "late")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("another server"), "{error}");
    }
    // It still reads, and what it reads is new.
    let names: Vec<_> = rows(&first).await.unwrap().into_iter().map(|row| row.value).collect();
    assert_eq!(names, ["first", "second"]);
    // Also while nothing of the other was written, and even if the connection is new.
    let third = open(&url).await;
    let error = second.commit(putting("a", "late")).await.unwrap_err();
    assert!(error.to_string().contains("another server"), "{error}");
    assert_eq!(put(&third, "c", "third").await, 3);
}

/// Another session changes the writer's row and rows that are checked, again and again: the database undoes
/// transactions, and the loop repeats them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn undone_transactions_are_repeated() {
    let Some(cluster) = Cluster::start().await else { return };
    let catalog = Arc::new(open(&cluster.database().await).await);
    put(&catalog, "counter", 0_u64.to_le_bytes()).await;
    let admin = cluster.client("vault0").await.unwrap();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    // Rewrites the same bytes: nothing is fenced off, but every overlap is a conflict.
    let rounds = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&rounds);
    let noise = tokio::spawn(async move {
        while !*stopped.borrow() {
            let same = "BEGIN; UPDATE readvault.writer SET value = value;
                SELECT pg_sleep(0.002); COMMIT; SELECT pg_sleep(0.002)";
            admin.batch_execute(same).await.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (catalog, rounds) = (Arc::clone(&catalog), Arc::clone(&rounds));
        tasks.spawn(async move {
            let mut applied = 0_u64;
            while applied < 20 || rounds.load(Ordering::Relaxed) < 50 {
                let row = RowKey::new(ALPHA, "counter");
                let now = catalog.read(std::slice::from_ref(&row)).await.unwrap().remove(0);
                let now = now.unwrap();
                let count = u64::from_le_bytes(now.value[..].try_into().unwrap());
                let mut commit = putting("counter", (count + 1).to_le_bytes());
                commit.unchanged(row, now.version);
                match catalog.commit(commit).await {
                    Ok(Outcome::Applied { .. }) => applied += 1,
                    Ok(Outcome::Conflict(_)) => {}
                    Ok(Outcome::Unknown) => panic!("no connection was lost"),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable),
                }
            }
            applied
        });
    }
    let applied: u64 = tasks.join_all().await.iter().sum();
    stop.send_replace(true);
    noise.await.unwrap();
    assert_eq!(rows(&catalog).await.unwrap()[0].value[..], applied.to_le_bytes());
}
