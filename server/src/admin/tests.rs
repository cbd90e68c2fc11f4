//! The door and its client, over a vault in memory.

use std::sync::Arc;

use clap::Parser;
use readvault_ambient::{Clock, System};
use readvault_exec_protocol::frame::{read_frame, write_frame};
use readvault_ops::{
    authorize::Authorizer,
    core::{Core, Site},
    erasure::Erasures,
};
use readvault_store::{
    keys::{KeySource, Keyring},
    receipts::Receipts,
    vault::DomainChoice,
};
use tokio::net::UnixStream;

use super::{
    Ask, Desk, Door,
    protocol::{Reply, Request, SOCKET, VERSION},
};

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    ask: Ask,
}

fn parse(words: &[&str]) -> Ask {
    Line::try_parse_from([&["readvaultd"], words].concat()).expect("a command").ask
}

/// A desk over a new vault, whose data directory goes with the second value.
async fn desk() -> (Desk, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let source = KeySource::Raw([7; 32].into());
    let keyring = Keyring::create(&directory.path().join("keyring"), &source, Arc::new(System));
    let keyring = Arc::new(keyring.expect("a keyring"));
    let vault = readvault_store::testing::vault_with(directory.path(), keyring.clone()).await;
    let (vault, _) = vault.expect("a vault");
    let site = Site { account: "123456789012".into(), region: "us-east-1".into() };
    let core = Core::new(vault, site, Arc::new(System), Arc::new(System));
    let data = directory.path().to_owned();
    let keys = core.vault().keys();
    let receipts = Receipts::open(
        &data.join("receipts"),
        keys.vault(),
        keys.vault_key().clone(),
        Arc::new(System),
    );
    let erasures = Erasures::new(core.clone(), Arc::new(receipts.expect("receipts")));
    let checkpoints = crate::app::Checkpoints::new(core.clone(), data.join("checkpoints"));
    let began = System.monotonic();
    let desk = Desk { core, master_keys: keyring, erasures, checkpoints, data, began };
    (desk, directory)
}

async fn ask(desk: &Desk, request: &Request) -> Vec<Reply> {
    let mut stream = UnixStream::connect(desk.data.join(SOCKET)).await.expect("connected");
    write_frame(&mut stream, request, &[]).await.expect("sent");
    let mut replies = Vec::new();
    while let Some((reply, _)) = read_frame(&mut stream).await.expect("a frame") {
        replies.push(reply);
    }
    replies
}

#[tokio::test]
async fn a_command_is_answered_and_another_version_is_refused() {
    let (desk, _directory) = desk().await;
    let door = Door::open(desk.clone(), Authorizer::default()).expect("opened");
    let door = tokio::spawn(door.serve());
    let request = Request { version: VERSION, ask: parse(&["status"]) };
    let replies = ask(&desk, &request).await;
    let Some(Reply::Done { text, value }) = replies.last() else { panic!("{replies:?}") };
    assert!(text.contains("keyring/v1 wraps 2 vault and 0 store keys"), "{text}");
    assert_eq!(value["jobs_waiting"], 0);
    let other = Request { version: VERSION + 1, ask: parse(&["status"]) };
    let replies = ask(&desk, &other).await;
    assert!(matches!(&replies[..], [Reply::Refused(refusal)] if refusal.code == 10));
    door.abort();
}

/// The JSON of a command's answer, or the status of its refusal.
async fn outcome(desk: &Desk, words: &[&str]) -> Result<serde_json::Value, u8> {
    match ask(desk, &Request { version: VERSION, ask: parse(words) }).await.pop() {
        Some(Reply::Done { value, .. }) => Ok(value),
        Some(Reply::Refused(refusal)) => Err(refusal.code),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn keys_are_rotated_and_the_old_one_retired() {
    let (desk, _directory) = desk().await;
    let door = Door::open(desk.clone(), Authorizer::default()).expect("opened");
    let door = tokio::spawn(door.serve());
    for _ in 0..3 {
        desk.core.vault().create_store("123456789012", DomainChoice::Own).await.expect("made");
    }
    let plan = outcome(&desk, &["keys", "rotate", "--dry-run"]).await.expect("planned");
    assert_eq!(plan["would_rewrap"], 5);
    assert_eq!(outcome(&desk, &["keys", "retire", "v1"]).await, Err(2), "not confirmed");
    let confirmed = ["keys", "retire", "v1", "--confirm", "v1"];
    assert_eq!(outcome(&desk, &confirmed).await, Err(5), "the only one");
    let rotated = outcome(&desk, &["keys", "rotate"]).await.expect("rotated");
    assert_eq!((&rotated["newest"], &rotated["rewrapped"]), (&"keyring/v2".into(), &5.into()));
    let status = outcome(&desk, &["keys", "status"]).await.expect("a status");
    assert_eq!(status["master_keys"]["keyring/v2"]["store_keys"], 3);
    assert_eq!(status["master_keys"]["keyring/v1"]["store_keys"], 0);
    let resumed = outcome(&desk, &["keys", "rotate", "--resume"]).await.expect("nothing left");
    assert_eq!(resumed["rewrapped"], 0);
    outcome(&desk, &confirmed).await.expect("retired");
    assert_eq!(outcome(&desk, &confirmed).await, Err(3), "gone");
    desk.core.vault().create_store("123456789012", DomainChoice::Own).await.expect("made");
    door.abort();
}

#[test]
fn a_keyring_moves_to_another_source_while_no_server_runs() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(at("old.key"), [1; 32]).expect("written");
    std::fs::write(at("new.key"), [2; 32]).expect("written");
    let (old, new) = (KeySource::File(at("old.key").into()), KeySource::File(at("new.key").into()));
    let path = directory.path().join("keyring");
    Keyring::create(&path, &old, Arc::new(System)).expect("a keyring");
    let (data, from, to) = (at(""), at("old.key"), at("new.key"));
    let words = ["keys", "reseal", "--data", &data, "--key-file", &from, "--to-key-file", &to];
    let reseal = parse(&words);
    let alone = reseal.command().alone().expect("it needs no server");
    alone.run(Some(directory.path())).expect("resealed");
    Keyring::open(&path, &new, Arc::new(System)).expect("opened by the new source");
    Keyring::open(&path, &old, Arc::new(System)).expect_err("not by the old one");
}

#[tokio::test]
async fn a_socket_left_behind_is_replaced_and_no_other_file_is() {
    let (desk, directory) = desk().await;
    drop(Door::open(desk.clone(), Authorizer::default()).expect("opened"));
    drop(Door::open(desk.clone(), Authorizer::default()).expect("opened again"));
    std::fs::remove_file(directory.path().join(SOCKET)).expect("removed");
    std::fs::write(directory.path().join(SOCKET), b"a file").expect("written");
    Door::open(desk, Authorizer::default()).expect_err("a file has the name");
}

#[test]
fn the_address_of_a_command_stays_with_the_client() {
    let ask = parse(&["status", "--data", "/srv/vault", "--json"]);
    assert_eq!(ask.at().data.as_deref(), Some(std::path::Path::new("/srv/vault")));
    let sent = serde_json::to_string(&ask).expect("sent");
    assert_eq!(sent, r#"{"status":{}}"#);
}
