//! A child process commits and prints what was acknowledged; it is killed, or its disk fails.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use super::*;

const DIRECTORY: &str = "READVAULT_TEST_DIRECTORY";
const KILLS: u64 = 10;

/// Answers in a row that leave open whether a commit is there, after which a task of the child gives up.
const DOUBTS_MAX: u32 = 3;

/// The child's part: several tasks commit and print each acknowledged key and version.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the tests below, in a process of its own"]
async fn child_commits() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let catalog = Arc::new(open(Path::new(&directory)));
    let start = catalog.changes(0, 1).await.unwrap().first().map_or(0, |change| change.version);
    let start = start + u64::from(std::process::id()) * 1_000_000;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..4_u64 {
        let catalog = Arc::clone(&catalog);
        tasks.spawn(async move {
            let mut doubts = 0;
            for round in 0..100_000_u64 {
                let key = format!("{}-{task}", start + round);
                let mut commit = Commit::new();
                commit.put(RowKey::new(ALPHA, key.clone()), vec![7; 300]);
                commit.put(RowKey::new(TABLES[1], key.clone()), key.clone());
                match catalog.commit(commit).await {
                    Ok(Outcome::Applied { version }) => {
                        println!("acked {key} {version}");
                        doubts = 0;
                    }
                    Ok(other) => {
                        println!("outcome {other:?}");
                        doubts += 1;
                    }
                    Err(error) => return println!("refused {:?}", error.kind()),
                }
                if doubts == DOUBTS_MAX {
                    return println!("refused in doubt");
                }
            }
        });
    }
    tasks.join_all().await;
}

fn child(directory: &Path, before: &str) -> Command {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("{before}exec \"$0\" --exact crash::child_commits --ignored --nocapture"))
        .arg(program)
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

#[tokio::test]
async fn a_kill_loses_no_acknowledged_commit() {
    let scratch = tempfile::tempdir().unwrap();
    let home = scratch.path().join("catalog");
    let mut acked: Vec<(String, u64)> = Vec::new();
    for kill in 0..KILLS {
        let mut child = child(&home, "").spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let reader = std::thread::spawn(move || {
            let mut acked = Vec::new();
            for line in lines.map_while(Result::<_, std::io::Error>::ok) {
                // The last line may be cut by the kill.
                let words: Vec<_> = line.split(' ').collect();
                if let ["acked", key, version] = words[..] {
                    acked.push((key.to_owned(), version.parse::<u64>().unwrap_or(0)));
                }
            }
            acked
        });
        std::thread::sleep(Duration::from_millis(150 + 60 * kill));
        child.kill().unwrap();
        child.wait().unwrap();
        let mut new = reader.join().unwrap();
        new.pop();
        acked.extend(new);

        let catalog = open(&home);
        for (key, version) in &acked {
            let found = catalog
                .read(&[RowKey::new(ALPHA, key.clone()), RowKey::new(TABLES[1], key.clone())])
                .await
                .unwrap();
            let versions: Vec<_> = found.iter().map(|r| r.as_ref().map(|r| r.version)).collect();
            assert_eq!(versions, [Some(*version); 2], "{key} after kill {kill}");
        }
        let log = catalog.changes(0, 1_000_000).await.unwrap();
        assert!(log.windows(2).all(|pair| pair[1].sequence == pair[0].sequence + 1));
    }
    assert!(acked.len() > 100, "only {} commits were acknowledged", acked.len());
}

#[tokio::test]
async fn commits_go_on_after_a_failed_write_and_none_is_lost() {
    let scratch = tempfile::tempdir().unwrap();
    let home = scratch.path().join("catalog");
    // Files of this child may not grow beyond 256 blocks of 512 bytes: the log's write fails, and the
    // next opening begins another log, until a table file is too large as well: then every write fails, and
    // as often as the catalog is opened anew.
    let output = child(&home, "trap '' XFSZ; ulimit -f 256; ").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let acked: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("acked ")).collect();
    let bytes = acked.len() * 300;
    assert!(bytes > 2 * 256 * 512, "one log alone holds less: {bytes} bytes were acknowledged");
    let refusals = ["refused Unavailable", "refused in doubt"];
    let refused = text.lines().filter(|line| refusals.contains(line)).count();
    assert_eq!(refused, 4, "every task is refused in the end");
    let catalog = open(&home);
    for line in acked {
        let (key, version) = line.split_once(' ').unwrap();
        let found = catalog.read(&[RowKey::new(ALPHA, key)]).await.unwrap();
        let found = found[0].as_ref().map(|row| row.version.to_string());
        assert_eq!(found.as_deref(), Some(version), "{key}");
    }
    put(&catalog, "after", "").await;
}
