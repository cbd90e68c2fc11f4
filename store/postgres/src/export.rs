//! Checkpoints: all rows of one state in one file, under a key of its own.
//!
//! `"RVCATX" ‖ 01 ‖ 0A ‖ salt (32) ‖ commitment (32)`, then blocks of `u8 last ‖ LP(sealed)`. A block holds
//! rows, `LP(table) ‖ LP(key) ‖ LP(value as it is sealed in the database)`, and is sealed as
//! "catalog-export", bound to `u64 number ‖ u8 last`; `last` is 1 for the last one. Spec: `docs/format.md`.

use std::path::Path;

use futures::TryStreamExt;
use readvault_ambient::{Entropy, random};
use readvault_store::{
    Error, ErrorKind, Result,
    catalog::row::RowSealer,
    seal::{KeyEncryptionKey, Salted, put_lp, seal_salted},
};
use tokio::{
    fs::{DirBuilder, File, OpenOptions},
    io::AsyncWriteExt,
};
use tokio_postgres::{Client, types::ToSql};

use crate::{
    connect::Connector,
    database::CHANGES,
    fault::{Failure, failure},
    fence::{WRITER, WRITER_KEY},
    group::change_key,
};

/// The one file in the directory of a checkpoint.
pub const CHECKPOINT_FILE: &str = "catalog.export";
pub(crate) const MAGIC: &[u8; 8] = b"RVCATX\x01\n";
pub(crate) const LABEL: &str = "catalog-export";
/// Bytes of rows after which a block is closed; it passes them by at most one row.
pub(crate) const BLOCK_BYTES: usize = 1 << 20;

/// The checkpoint is as long as it takes, and of one state throughout.
const BEGIN: &str =
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0;
    SET LOCAL idle_in_transaction_session_timeout = 0";
const WRITERS: &str = "SELECT value FROM readvault.writer WHERE id = 0";
const CHANGE: &str = "SELECT version, value FROM readvault.changes ORDER BY version";
const NAMES: &str = "SELECT id, name FROM readvault.tables ORDER BY id";
const ROWS: &str = "SELECT key, value FROM readvault.rows WHERE tab = $1::smallint ORDER BY key";

/// What the blocks of an export are bound to.
pub(crate) fn associated_data(number: u64, last: u8) -> [u8; 9] {
    let mut data = [last; 9];
    data[..8].copy_from_slice(&number.to_le_bytes());
    data
}

/// Writes all rows into the new directory `target`; durable when this returns. A target that could not be
/// finished is removed again.
pub(crate) async fn export(
    connector: &Connector,
    sealer: &RowSealer,
    entropy: &dyn Entropy,
    target: &Path,
) -> Result<()> {
    DirBuilder::new().mode(0o700).create(target).await.map_err(unwritten)?;
    let written = write(connector, sealer, entropy, target).await;
    if written.is_err()
        && let Err(cause) = tokio::fs::remove_dir_all(target).await
    {
        tracing::warn!(%cause, "an unfinished catalog checkpoint can't be removed");
    }
    written
}

async fn write(
    connector: &Connector,
    sealer: &RowSealer,
    entropy: &dyn Entropy,
    target: &Path,
) -> Result<()> {
    let client = connector.connect().await.map_err(Failure::into_error)?;
    let mut out = Blocks::create(&target.join(CHECKPOINT_FILE), sealer, entropy).await?;
    rows(&client, &mut out).await?;
    out.finish().await?;
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
    for directory in [target, parent.unwrap_or(Path::new("."))] {
        let directory = File::open(directory).await.map_err(unwritten)?;
        directory.sync_all().await.map_err(unwritten)?;
    }
    Ok(())
}

/// The writer's row goes first, so that a reader learns the version before all else.
async fn rows(client: &Client, out: &mut Blocks<'_>) -> Result<()> {
    let failed = |error| failure("reading a catalog checkpoint")(error).into_error();
    client.batch_execute(BEGIN).await.map_err(failed)?;
    let writer = client.query_one(WRITERS, &[]).await.map_err(failed)?;
    out.row(WRITER.0, WRITER_KEY, writer.get(0)).await?;
    let none: [&(dyn ToSql + Sync); 0] = [];
    let changes = client.query_raw(CHANGE, none).await.map_err(failed)?;
    futures::pin_mut!(changes);
    while let Some(row) = changes.try_next().await.map_err(failed)? {
        let version = u64::try_from(row.get::<_, i64>(0))
            .map_err(|_| Error::corrupt("a version in the change log"))?;
        out.row(CHANGES.0, &change_key(version), row.get(1)).await?;
    }
    for table in client.query(NAMES, &[]).await.map_err(failed)? {
        let (number, name): (i16, &str) = (table.get(0), table.get(1));
        let rows = client.query_raw(ROWS, [number]).await.map_err(failed)?;
        futures::pin_mut!(rows);
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            out.row(name, row.get(0), row.get(1)).await?;
        }
    }
    client.batch_execute("COMMIT").await.map_err(failed)
}

/// The blocks of an export on their way to the file.
struct Blocks<'a> {
    file: File,
    key: KeyEncryptionKey,
    entropy: &'a dyn Entropy,
    number: u64,
    block: Vec<u8>,
}

impl<'a> Blocks<'a> {
    async fn create(path: &Path, sealer: &RowSealer, entropy: &'a dyn Entropy) -> Result<Self> {
        let salt: [u8; 32] = random(entropy);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .await
            .map_err(unwritten)?;
        let head = [&MAGIC[..], &salt, &sealer.file_commitment(&salt)].concat();
        file.write_all(&head).await.map_err(unwritten)?;
        Ok(Self { file, key: sealer.file_key(&salt), entropy, number: 0, block: Vec::new() })
    }

    async fn row(&mut self, table: &str, key: &[u8], value: &[u8]) -> Result<()> {
        for field in [table.as_bytes(), key, value] {
            put_lp(&mut self.block, field);
        }
        if self.block.len() >= BLOCK_BYTES { self.close(0).await } else { Ok(()) }
    }

    async fn close(&mut self, last: u8) -> Result<()> {
        let aad = associated_data(self.number, last);
        let salted = Salted { label: LABEL, aad: &aad };
        let sealed = seal_salted(&self.key, salted, &self.block, self.entropy);
        let mut framed = Vec::with_capacity(5 + sealed.len());
        framed.push(last);
        put_lp(&mut framed, &sealed);
        self.file.write_all(&framed).await.map_err(unwritten)?;
        self.block.clear();
        self.number += 1;
        Ok(())
    }

    async fn finish(mut self) -> Result<()> {
        self.close(1).await?;
        self.file.flush().await.map_err(unwritten)?;
        self.file.sync_all().await.map_err(unwritten)
    }
}

fn unwritten(cause: std::io::Error) -> Error {
    let kind = match cause.kind() {
        std::io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, "writing a catalog checkpoint").because(cause)
}
