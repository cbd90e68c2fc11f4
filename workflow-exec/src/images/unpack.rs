//! `readvault-exec unpack`: the confined child that opens one layer.
//!
//! It reads the layer from standard input, applies it to the tree below `--root` and answers one
//! JSON document on standard output. It gets no key, no network, no other directory and no name;
//! the importer verifies what it reads and makes the tree its own afterwards.

use std::{
    ffi::OsString,
    io::{self, Read, Write},
    path::PathBuf,
    process::ExitCode,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    apply::{self, Budget},
    confine,
};

/// What the child was asked, by its arguments: `--root DIR --compression none|gzip|zstd --bytes N
/// --entries N`, in this order.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) root: PathBuf,
    pub(super) compression: String,
    pub(super) budget: Budget,
}

impl Order {
    /// The arguments that [`main`] reads.
    pub(super) fn arguments(&self) -> [OsString; 8] {
        [
            "--root".into(),
            self.root.clone().into(),
            "--compression".into(),
            self.compression.clone().into(),
            "--bytes".into(),
            self.budget.bytes.to_string().into(),
            "--entries".into(),
            self.budget.entries.to_string().into(),
        ]
    }

    fn parse(arguments: impl Iterator<Item = OsString>) -> Option<Self> {
        let arguments: Vec<OsString> = arguments.collect();
        let [_, root, _, compression, _, bytes, _, entries] = <[_; 8]>::try_from(arguments).ok()?;
        let number = |text: OsString| text.to_str()?.parse().ok();
        let budget = Budget { entries: number(entries)?, bytes: number(bytes)? };
        Some(Self { root: root.into(), compression: compression.into_string().ok()?, budget })
    }
}

/// What the child answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    /// The layer was applied.
    Applied {
        /// SHA-256 of the layer's tar, `sha256:…`.
        diff_id: String,
        /// What is left of the budget.
        entries_left: u64,
        /// What is left of the budget.
        bytes_left: u64,
    },
    /// It was not; why.
    Refused {
        /// In words for people.
        reason: String,
    },
}

/// Runs the child with the arguments that follow `unpack`; the exit code says nothing, the report
/// does. Must be called before any thread is started.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let report = match Order::parse(arguments) {
        Some(order) => confined(&order).unwrap_or_else(|reason| Report::Refused { reason }),
        None => Report::Refused { reason: "the arguments are malformed".into() },
    };
    let text = serde_json::to_vec(&report).expect("a report is JSON");
    match io::stdout().write_all(&text).and_then(|()| io::stdout().flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn confined(order: &Order) -> Result<Report, String> {
    let root = confine::confine(&order.root, order.budget.bytes)
        .map_err(|cause| format!("the unpacking process cannot be confined: {cause}"))?;
    let packed = io::stdin().lock();
    let plain: Box<dyn Read> = match order.compression.as_str() {
        "none" => Box::new(packed),
        "gzip" => Box::new(flate2::read::MultiGzDecoder::new(packed)),
        "zstd" => Box::new(zstd::Decoder::new(packed).map_err(|cause| cause.to_string())?),
        _ => return Err("the compression is unknown".into()),
    };
    // Padding and headers count too, so that a bomb of empty blocks ends.
    let bytes_max = order.budget.bytes.saturating_add(order.budget.entries.saturating_mul(2048));
    let mut plain = Hashing { reader: plain, hash: Sha256::new(), left: bytes_max };
    let left = apply::apply(root, &mut plain, order.budget).map_err(|cause| cause.to_string())?;
    io::copy(&mut plain, &mut io::sink()).map_err(|cause| cause.to_string())?;
    let diff_id = format!("sha256:{}", hex::encode(plain.hash.finalize()));
    Ok(Report::Applied { diff_id, entries_left: left.entries, bytes_left: left.bytes })
}

struct Hashing {
    reader: Box<dyn Read>,
    hash: Sha256,
    left: u64,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.reader.read(buffer)?;
        self.left = self
            .left
            .checked_sub(length as u64)
            .ok_or_else(|| io::Error::other("the layer is larger than the limit of this node"))?;
        self.hash.update(&buffer[..length]);
        Ok(length)
    }
}
