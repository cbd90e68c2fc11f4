use std::time::Duration;

use super::*;
use readvault_store::ErrorKind;

/// Ends every connection of a catalog, but not the asking one.
const END_ALL: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE application_name = 'readvaultd'";
/// Whether a connection waits for a lock.
const WAITING: &str = "SELECT count(*) > 0 FROM pg_stat_activity
    WHERE application_name = 'readvaultd' AND wait_event_type = 'Lock'";

async fn until(admin: &tokio_postgres::Client, question: &str) {
    for _ in 0..500 {
        if admin.query_one(question, &[]).await.unwrap().get(0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come to that: {question}");
}

/// The connection is ended while the commit's own writes wait for a lock: it had not committed, so it is
/// made again on a new one, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_connection_is_ended_is_made_again_once() {
    let Some(cluster) = Cluster::start().await else { return };
    let catalog = Arc::new(open(&cluster.database().await).await);
    let first = put(&catalog, "a", "0").await;
    let admin = cluster.client("vault0").await.unwrap();
    let holder = cluster.client("vault0").await.unwrap();
    for round in 1..=5_u64 {
        let lock = "BEGIN; LOCK TABLE readvault.changes IN EXCLUSIVE MODE";
        holder.batch_execute(lock).await.unwrap();
        let committing = Arc::clone(&catalog);
        let mut commit = putting("a", round.to_string());
        commit.unchanged(RowKey::new(ALPHA, "a"), first + round - 1);
        let commit = tokio::spawn(async move { committing.commit(commit).await });
        until(&admin, WAITING).await;
        let ended: i64 = admin.query_one(END_ALL, &[]).await.unwrap().get(0);
        assert!(ended > 0);
        holder.batch_execute("ROLLBACK").await.unwrap();
        let outcome = commit.await.unwrap().unwrap();
        assert_eq!(outcome, Outcome::Applied { version: first + round });
        assert_eq!(rows(&catalog).await.unwrap()[0].value, round.to_string());
    }
    assert_eq!(catalog.changes(0, 100).await.unwrap().len(), 6, "each was made once");
}

/// Connections end at any moment under load: every answer is true.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_is_wrong_when_connections_end_at_any_moment() {
    let Some(cluster) = Cluster::start().await else { return };
    let catalog = Arc::new(open(&cluster.database().await).await);
    let admin = cluster.client("vault0").await.unwrap();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8_u64 {
        let (catalog, stopped) = (Arc::clone(&catalog), stopped.clone());
        tasks.spawn(async move {
            let (mut applied, mut unknown) = (Vec::new(), Vec::new());
            for round in 0_u64.. {
                if *stopped.borrow() {
                    break;
                }
                let key = format!("{task}/{round}");
                loop {
                    match catalog.commit(putting(key.as_bytes(), "v")).await {
                        Ok(Outcome::Applied { version }) => break applied.push((key, version)),
                        Ok(Outcome::Unknown) => break unknown.push(key),
                        Ok(Outcome::Conflict(row)) => panic!("nothing is checked: {row:?}"),
                        // For certain not applied, so it may be made again.
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}"),
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            (applied, unknown)
        });
    }
    let mut ended = 0;
    while ended < 12 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        ended += admin.query_one(END_ALL, &[]).await.unwrap().get::<_, i64>(0);
    }
    stop.send_replace(true);
    let mut answers = (Vec::new(), Vec::new());
    for (applied, unknown) in tasks.join_all().await {
        answers.0.extend(applied);
        answers.1.extend(unknown);
    }
    let there = rows(&catalog).await.unwrap();
    for (key, version) in &answers.0 {
        let row = there.iter().find(|row| row.key == key.as_bytes());
        assert_eq!(row.map(|row| row.version), Some(*version), "{key} was acknowledged");
    }
    assert!(answers.0.len() > 100 && there.len() <= answers.0.len() + answers.1.len());
    let changes = catalog.changes(0, usize::MAX).await.unwrap();
    assert_eq!(changes.len(), there.len(), "what was refused for certain was made once");
    assert!(changes.windows(2).all(|pair| pair[1].version == pair[0].version + 1), "dense");
    println!("{ended} connections ended, {} applied, {} unknown", answers.0.len(), answers.1.len());
}

/// The database goes away in the middle of a commit and comes back much later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_outcome_is_settled_when_the_database_is_back() {
    let Some(mut cluster) = Cluster::start().await else { return };
    let catalog = Arc::new(open(&cluster.database().await).await);
    put(&catalog, "a", "before").await;
    let admin = cluster.client("vault0").await.unwrap();
    let holder = cluster.client("vault0").await.unwrap();
    let lock = "BEGIN; LOCK TABLE readvault.changes IN EXCLUSIVE MODE";
    holder.batch_execute(lock).await.unwrap();
    let committing = Arc::clone(&catalog);
    let commit = tokio::spawn(async move { committing.commit(putting("a", "doubtful")).await });
    until(&admin, WAITING).await;
    cluster.crash();
    assert_eq!(commit.await.unwrap().unwrap(), Outcome::Unknown);
    let refused = catalog.commit(putting("b", "meanwhile")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert_eq!(rows(&catalog).await.unwrap_err().kind(), ErrorKind::Unavailable);

    cluster.restart(&["fsync=off"]).await;
    let mut back = None;
    for _ in 0..200 {
        match catalog.commit(putting("b", "after")).await {
            Ok(Outcome::Applied { version }) => {
                back = Some(version);
                break;
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(back, Some(2), "the doubtful commit had not committed and can't any more");
    let values: Vec<_> = wait_for_rows(&catalog).await.into_iter().map(|row| row.value).collect();
    assert_eq!(values, ["before", "after"]);
}

async fn wait_for_rows(catalog: &PostgresCatalog) -> Vec<Row> {
    for _ in 0..200 {
        if let Ok(rows) = rows(catalog).await {
            return rows;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("reads come back, too");
}

/// The database is brought back from an older copy under a running server: it takes no more commits.
#[tokio::test]
async fn a_database_that_went_back_is_not_written_to() {
    let Some(cluster) = Cluster::start().await else { return };
    let catalog = open(&cluster.database().await).await;
    put(&catalog, "a", "1").await;
    let admin = cluster.client("vault0").await.unwrap();
    admin.batch_execute("CREATE TABLE old AS SELECT * FROM readvault.writer").await.unwrap();
    put(&catalog, "a", "2").await;
    admin.batch_execute("UPDATE readvault.writer w SET value = old.value FROM old").await.unwrap();
    let error = catalog.commit(putting("a", "3")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("restored"), "{error}");
}
