use std::sync::Mutex;

use super::*;
use readvault_store::catalog::conformance;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_every_promise_of_the_trait() {
    let Some(cluster) = Cluster::start().await else { return };
    let made = Mutex::new(0);
    conformance::run(
        || async {
            *made.lock().unwrap() += 1;
            Arc::new(open(&cluster.database().await).await) as Arc<dyn Catalog>
        },
        |copy| {
            let copy = copy.to_owned();
            async {
                let copy = copy;
                let empty = params(&cluster.database().await, 1);
                let loaded = PostgresCatalog::load(empty, &copy).await.expect("loads");
                Arc::new(loaded) as Arc<dyn Catalog>
            }
        },
    )
    .await;
    assert!(*made.lock().unwrap() > 10, "the suite ran");
}
