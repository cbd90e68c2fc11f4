//! Fills an empty database from a checkpoint: all of it in one transaction.

use std::{collections::HashMap, path::Path};

use readvault_store::{
    Error, ErrorKind, Result,
    catalog::row::RowSealer,
    seal::{KeyEncryptionKey, Salted, open_salted},
};
use tokio::{
    fs::File,
    io::{AsyncReadExt, BufReader},
};
use tokio_postgres::{IsolationLevel, Statement, Transaction};

use crate::{
    connect::Connector,
    database::CHANGES,
    export::{BLOCK_BYTES, CHECKPOINT_FILE, LABEL, MAGIC, associated_data},
    fault::{Failure, failure},
    fence::WRITER,
    schema,
    statements::{ADVANCE, HOLD, LOG, PUT},
};

/// Most bytes of a sealed block: what fills one, its last row, and the sealing.
const SEALED_BYTES_MAX: usize = BLOCK_BYTES + (2 << 20);

const FAILED: &str = "loading a catalog checkpoint";

/// Loads the checkpoint in `directory`.
pub(crate) async fn load(
    connector: &Connector,
    sealer: &RowSealer,
    directory: &Path,
) -> Result<()> {
    let mut blocks = Blocks::open(&directory.join(CHECKPOINT_FILE), sealer).await?;
    let failed = |error| failure(FAILED)(error).into_error();
    let mut client = connector.connect().await.map_err(Failure::into_error)?;
    let numbers = schema::prepare(&mut client, std::iter::empty()).await;
    let numbers = numbers.map_err(Failure::into_error)?;
    let transaction = client
        .build_transaction()
        .isolation_level(IsolationLevel::Serializable)
        .start()
        .await
        .map_err(failed)?;
    transaction.batch_execute("SET LOCAL statement_timeout = 0").await.map_err(failed)?;
    if !transaction.query(HOLD, &[]).await.map_err(failed)?.is_empty() {
        let words = "the database holds a catalog: a checkpoint is loaded into an empty one";
        return Err(Error::new(ErrorKind::AlreadyExists, words));
    }
    let mut rows = Rows::prepare(&transaction, numbers).await?;
    while let Some(block) = blocks.next().await? {
        rows.write(&transaction, &block).await?;
    }
    if !rows.writer {
        return Err(malformed());
    }
    transaction.commit().await.map_err(failed)
}

/// The blocks of an export, opened one by one.
struct Blocks {
    file: BufReader<File>,
    key: KeyEncryptionKey,
    number: u64,
    ended: bool,
}

impl Blocks {
    async fn open(path: &Path, sealer: &RowSealer) -> Result<Self> {
        let mut file = BufReader::new(File::open(path).await.map_err(unread)?);
        let (mut magic, mut salt, mut commitment) = ([0; 8], [0; 32], [0; 32]);
        for field in [&mut magic[..], &mut salt, &mut commitment] {
            file.read_exact(field).await.map_err(unread)?;
        }
        if magic != *MAGIC {
            return Err(malformed());
        }
        if commitment != sealer.file_commitment(&salt) {
            let words = "the catalog checkpoint does not open under this key";
            return Err(Error::new(ErrorKind::KeyUnavailable, words));
        }
        Ok(Self { file, key: sealer.file_key(&salt), number: 0, ended: false })
    }

    /// The rows of the next block; none behind the last one, where the file must end.
    async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        if self.ended {
            let mut rest = [0];
            let more = self.file.read(&mut rest).await.map_err(unread)?;
            return if more == 0 { Ok(None) } else { Err(malformed()) };
        }
        let last = self.file.read_u8().await.map_err(unread)?;
        let length = self.file.read_u32_le().await.map_err(unread)? as usize;
        if length > SEALED_BYTES_MAX {
            return Err(malformed());
        }
        let mut sealed = vec![0; length];
        self.file.read_exact(&mut sealed).await.map_err(unread)?;
        let aad = associated_data(self.number, last);
        let mut block = open_salted(&self.key, Salted { label: LABEL, aad: &aad }, &sealed)
            .map_err(|cause| malformed().because(cause))?;
        self.number += 1;
        self.ended = last == 1;
        Ok(Some(std::mem::take(&mut *block)))
    }
}

/// Puts the rows of blocks where they belong.
struct Rows {
    numbers: HashMap<String, i16>,
    put: Statement,
    log: Statement,
    writer: bool,
}

impl Rows {
    async fn prepare(transaction: &Transaction<'_>, numbers: HashMap<String, i16>) -> Result<Self> {
        let failed = |error| failure(FAILED)(error).into_error();
        let put = transaction.prepare(PUT).await.map_err(failed)?;
        let log = transaction.prepare(LOG).await.map_err(failed)?;
        Ok(Self { numbers, put, log, writer: false })
    }

    async fn write(&mut self, transaction: &Transaction<'_>, mut block: &[u8]) -> Result<()> {
        let failed = |error| failure(FAILED)(error).into_error();
        let mut puts: (Vec<i16>, Vec<&[u8]>, Vec<&[u8]>) = Default::default();
        let mut changes: (Vec<i64>, Vec<&[u8]>) = Default::default();
        while !block.is_empty() {
            let (name, key, value) = (take(&mut block)?, take(&mut block)?, take(&mut block)?);
            let name = str::from_utf8(name).map_err(|_| malformed())?;
            if name == WRITER.0 {
                transaction.execute(ADVANCE, &[&value]).await.map_err(failed)?;
                self.writer = true;
            } else if name == CHANGES.0 {
                let version = key.try_into().map_err(|_| malformed())?;
                let version = i64::try_from(u64::from_be_bytes(version));
                changes.0.push(version.map_err(|_| malformed())?);
                changes.1.push(value);
            } else {
                puts.0.push(self.number(transaction, name).await?);
                puts.1.push(key);
                puts.2.push(value);
            }
        }
        transaction.execute(&self.log, &[&changes.0, &changes.1]).await.map_err(failed)?;
        transaction.execute(&self.put, &[&puts.0, &puts.1, &puts.2]).await.map_err(failed)?;
        Ok(())
    }

    async fn number(&mut self, transaction: &Transaction<'_>, name: &str) -> Result<i16> {
        if let Some(number) = self.numbers.get(name) {
            return Ok(*number);
        }
        let number = schema::add(transaction, &self.numbers, name).await;
        let number = number.map_err(Failure::into_error)?;
        self.numbers.insert(name.to_owned(), number);
        Ok(number)
    }
}

fn take<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(malformed)?;
    let length = u32::from_le_bytes(*length) as usize;
    let (taken, rest) = rest.split_at_checked(length).ok_or_else(malformed)?;
    *bytes = rest;
    Ok(taken)
}

fn malformed() -> Error {
    Error::corrupt("a catalog checkpoint is malformed, damaged or cut")
}

fn unread(cause: std::io::Error) -> Error {
    match cause.kind() {
        std::io::ErrorKind::UnexpectedEof => malformed(),
        std::io::ErrorKind::NotFound => {
            Error::new(ErrorKind::NotFound, "there is no catalog checkpoint").because(cause)
        }
        _ => Error::new(ErrorKind::Unavailable, "reading a catalog checkpoint").because(cause),
    }
}
