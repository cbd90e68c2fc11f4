//! Commands of an administrator to a live server, over `DATA/admin.sock`.
//!
//! `client` asks, `door` listens, each command is one file and one line of [`Ask`]. A command gets the
//! [`Desk`] and a [`Call`] with its permit (INV-10), and answers in words and in JSON. What only the agent
//! knows (images, engines) does not go this way.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use clap::{Args, Subcommand};
use readvault_ops::fault::Result;
use serde::{Deserialize, Serialize};

mod backup;
mod checkpoint;
pub mod client;
mod desk;
mod door;
mod erase;
mod gc;
mod keys;
mod protocol;
mod receipts;
mod scrub;
pub mod source;
mod status;

pub use desk::{Answer, Call, Desk, Progress};
pub use door::Door;

/// One command; its fields are its arguments.
#[async_trait]
pub trait Command: Send + Sync {
    /// The action that its permit and the log name.
    fn action(&self) -> &'static str;

    /// Does it. The future is dropped when the client goes away or the server stops: what must not be
    /// cut short is spawned.
    ///
    /// # Errors
    /// What went wrong, in words for an administrator.
    async fn run(&self, desk: &Desk, call: &Call) -> Result<Answer>;

    /// What is done in place of asking a server, for a command that needs none.
    fn alone(&self) -> Option<&dyn Alone> {
        None
    }
}

/// A command that needs no server.
pub trait Alone {
    /// Does it, in this process; `data` is the data directory, when one is named.
    ///
    /// # Errors
    /// What went wrong, in words for an administrator.
    fn run(&self, data: Option<&Path>) -> anyhow::Result<Answer>;
}

/// Where a command goes, and how its answer is printed.
#[derive(Clone, Debug, Default, Args)]
pub struct At {
    /// The data directory of the vault.
    #[arg(long, env = "READVAULT_DATA", global = true)]
    pub data: Option<PathBuf>,
    /// Prints the answer as one JSON object, and progress as one a line.
    #[arg(long, global = true)]
    pub json: bool,
}

/// A command with its address, which stays on this side of the socket.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Addressed<C: Args> {
    #[command(flatten)]
    #[serde(skip)]
    at: At,
    #[command(flatten)]
    command: C,
}

macro_rules! commands {
    ($($(#[$doc:meta])* $name:ident($command:ty),)*) => {
        /// Everything that can be asked of a live server.
        #[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Ask {
            $($(#[$doc])* $name(Addressed<$command>),)*
        }

        impl Ask {
            fn at(&self) -> &At {
                match self {
                    $(Self::$name(asked) => &asked.at,)*
                }
            }

            fn command(&self) -> &dyn Command {
                match self {
                    $(Self::$name(asked) => &asked.command,)*
                }
            }
        }
    };
}

commands! {
    /// Says how the live server of a vault stands.
    Status(status::Status),
    /// Writes a checkpoint of the catalog now.
    Checkpoint(checkpoint::Checkpoint),
    /// Copies a vault that is in use, so that it can be restored elsewhere.
    Backup(backup::Backup),
    /// The keys that wrap keys: status, rotation, another source.
    Keys(keys::Keys),
    /// Collects garbage now: chunks that nothing refers to, packs that are mostly dead.
    Gc(gc::Gc),
    /// Reads everything that is stored now, and mends or quarantines what is damaged.
    Scrub(scrub::Scrub),
    /// Erases a read set or a reference, in this vault and in every copy of it.
    Erase(erase::Erase),
    /// Receipts of erasures.
    Receipts(receipts::ReceiptsOf),
}

#[cfg(test)]
mod tests;
