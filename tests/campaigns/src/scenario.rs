//! The situations in which operations on files are made to fail.

use std::path::Path;

use readvault_store::vault::SlotChoice;
use tempfile::TempDir;

use crate::{
    home::Home,
    lane::{Client, Witness},
    parallel::runtime,
    place,
    steps::{Step, put, take},
    verify::told,
};

/// How the vault was left before the part that fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Left {
    /// There was none.
    Absent,
    /// Closed in order.
    Closed,
    /// Ended in the middle: its files as they were while it was open.
    Ended,
}

/// What is done before, how that was left, and what is done while something fails.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    before: Vec<Step>,
    left: Left,
    /// What is done after the vault was opened.
    pub then: Vec<Step>,
    /// Bytes at which a pack is closed.
    pub pack_bytes_max: u64,
}

/// A scenario whose first part is done.
#[derive(Debug)]
pub struct Prepared {
    /// The scenario.
    pub scenario: Scenario,
    /// Its client, when there is a vault already.
    pub client: Option<Client>,
    /// What it was asked and acknowledged.
    pub witness: Witness,
    directory: TempDir,
}

/// Every situation of the campaign.
#[must_use]
pub fn all() -> Vec<Scenario> {
    [of_clients(), of_upkeep()].concat()
}

fn of_clients() -> Vec<Scenario> {
    let (small, chunked, large) = (put("a", 1, 900), put("b", 2, 90_000), put("c", 3, 1_100_000));
    let base = base();
    let rows =
        |count: u64| -> Vec<Step> { (0..count).map(|n| put(&format!("r{n}"), n, 40)).collect() };
    let upload = Step::Upload {
        name: "u".to_owned(),
        parts: vec![(4, 70_000), (5, 80_000), (2, 90_000), (6, 10)],
    };
    let copy = copied("b");
    vec![
        make("new vault", &[], Left::Absent, vec![small.clone()]),
        make("new store", &base, Left::Closed, vec![store("s1"), store("s2")]),
        make("small put", &base, Left::Closed, vec![small.clone(), put("d", 7, 0)]),
        make("chunked put", &base, Left::Closed, vec![large.clone(), put("e", 8, 70_000)]),
        make(
            "put of known chunks",
            &base,
            Left::Closed,
            vec![put("f", 2, 90_000), put("g", 2, 90_000)],
        ),
        make("upload in parts", &base, Left::Closed, vec![upload.clone()]),
        make("copy", &base, Left::Closed, vec![copy.clone()]),
        make("delete", &base, Left::Closed, vec![delete("b"), delete("a")]),
        make("replace", &base, Left::Closed, vec![put("a", 10, 800), put("b", 11, 95_000)]),
        make("many at once", &base, Left::Closed, vec![Step::Many(12, 700)]),
        make("open after a close", &base, Left::Closed, vec![]),
        make("open after an end", &base, Left::Ended, vec![put("d", 7, 100)]),
        Scenario {
            pack_bytes_max: 100 << 10,
            ..make(
                "full packs",
                &base,
                Left::Closed,
                vec![chunked, put("h", 12, 99_000), large, Step::Settle, put("i", 13, 70_000)],
            )
        },
        make("slots run out", &base, Left::Closed, vec![own("a"), own("k"), delete("k")]),
        make("flush and compaction", &rows(6), Left::Ended, rows(60)),
        make("everything", &base, Left::Ended, vec![upload, copy, delete("a"), store("s3"), small]),
    ]
}

/// What is done beside the clients, or by an administrator.
fn of_upkeep() -> Vec<Scenario> {
    let base = base();
    let garbage = [base.clone(), vec![put("x", 20, 90_000), put("b", 21, 80_000)]].concat();
    let erase = |name: &str| Step::Erase(name.to_owned());
    vec![
        make(
            "garbage",
            &garbage,
            Left::Closed,
            vec![delete("b"), Step::Collect, put("d", 7, 70_000)],
        ),
        make(
            "erasure",
            &[base.clone(), vec![own("k"), own("l")]].concat(),
            Left::Closed,
            vec![erase("k"), copied("l"), erase("l"), own("k")],
        ),
        make("rotation", &base, Left::Ended, vec![Step::Rotate, store("s4"), Step::Rotate]),
        make(
            "scrub and checkpoint",
            &garbage,
            Left::Ended,
            vec![Step::Scrub, Step::Checkpoint, put("d", 7, 70_000), Step::Checkpoint],
        ),
    ]
}

fn make(name: &'static str, before: &[Step], left: Left, then: Vec<Step>) -> Scenario {
    Scenario { name, before: before.to_vec(), left, then, pack_bytes_max: 64 << 20 }
}

fn base() -> Vec<Step> {
    vec![put("a", 1, 900), put("b", 2, 90_000)]
}

/// Puts a file with a shred slot of its own.
fn own(name: &str) -> Step {
    Step::Put { name: name.to_owned(), content: 9, length: 500, slot: SlotChoice::Own }
}

fn copied(name: &str) -> Step {
    Step::Copy { source: name.to_owned(), target: "copy".to_owned() }
}

fn delete(name: &str) -> Step {
    Step::Delete(name.to_owned())
}

fn store(name: &str) -> Step {
    Step::Store(name.to_owned())
}

impl Scenario {
    /// Does the first part, with nothing failing.
    ///
    /// # Errors
    /// A sentence about what failed nevertheless.
    pub fn prepare(self) -> Result<Prepared, String> {
        let directory = place::directory().map_err(|cause| cause.to_string())?;
        let witness = Witness::default();
        let client = if self.left == Left::Absent {
            None
        } else {
            runtime().block_on(self.first_part(directory.path(), &witness)).map(Some)?
        };
        Ok(Prepared { scenario: self, client, witness, directory })
    }

    async fn first_part(&self, target: &Path, witness: &Witness) -> Result<Client, String> {
        let scratch = place::directory().map_err(|cause| cause.to_string())?;
        let home = self.home(scratch.path());
        let failed = |error: readvault_store::Error| format!("{}: {}", self.name, told(&error));
        let open = home.open().await.map_err(failed)?;
        let client = Client::new("a", &open).await.map_err(failed)?;
        for step in &self.before {
            for done in take(step, &client, &open, witness).await {
                done.map_err(failed)?;
            }
        }
        let copy =
            |target| place::copy_at_rest(scratch.path(), target).map_err(|cause| cause.to_string());
        if self.left == Left::Ended {
            copy(target)?;
            open.close().await.map_err(failed)?;
        } else {
            open.close().await.map_err(failed)?;
            copy(target)?;
        }
        Ok(client)
    }

    /// A vault of this scenario in `directory`.
    #[must_use]
    pub fn home(&self, directory: &Path) -> Home {
        Home { pack_bytes_max: self.pack_bytes_max, ..Home::new(directory) }
    }
}

impl Prepared {
    /// A copy of the vault that the first part left.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn copy(&self) -> std::io::Result<TempDir> {
        let directory = place::directory()?;
        place::copy(self.directory.path(), directory.path())?;
        Ok(directory)
    }
}
