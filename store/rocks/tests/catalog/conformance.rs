use std::sync::Mutex;

use super::*;
use readvault_store::catalog::conformance;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_every_promise_of_the_trait() {
    let directories = Mutex::new(Vec::new());
    conformance::run(
        || async {
            let directory = tempfile::tempdir().unwrap();
            let catalog = open(directory.path());
            directories.lock().unwrap().push(directory);
            Arc::new(catalog) as Arc<dyn Catalog>
        },
        |copy| {
            let catalog = Arc::new(open(copy)) as Arc<dyn Catalog>;
            async { catalog }
        },
    )
    .await;
}
