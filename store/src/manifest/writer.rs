//! Writing a manifest: entries in order, then one sealing.

use readvault_ambient::{Entropy, random};

use super::{
    EntryRun, IdBlock, KeyBlock, PartRun, SealedManifest, Tail,
    blocks::seal_id,
    body::{ENTRIES_MAX, ENTRY_RUNS_MAX, INLINE_BYTES_MAX, PART_RUNS_MAX, Prelude},
    head::{Header, commitment, frames, root_key},
    record::assemble,
};
use crate::{
    Error, ErrorKind, Result,
    chunk::{ChunkRef, ChunkSize},
    ids::ManifestId,
    seal::{ItemKey, SecretBuffer, SecretKey, VaultKey, put_lp, sha256},
};

/// The keys that a manifest is sealed under.
#[derive(Clone, Copy, Debug)]
pub struct ManifestKeys<'a> {
    /// VK, for the blocks.
    pub vault: &'a VaultKey,
    /// IK, for the body.
    pub item: &'a ItemKey,
}

/// What a manifest says besides the entries.
#[derive(Clone, Copy, Debug)]
pub struct ManifestSpec<'a> {
    /// Whose file it is.
    pub id: &'a IdBlock,
    /// How its item's key is wrapped.
    pub key: &'a KeyBlock,
    /// Digests, format facts and metadata.
    pub tail: &'a Tail,
}

/// Gathers the entries of one file. Holds 68 bytes for each; wiped when dropped.
#[derive(Debug)]
pub struct ManifestWriter {
    chunk_size: Option<ChunkSize>,
    part_runs: Vec<PartRun>,
    entry_runs: Vec<EntryRun>,
    /// The entries, or the file's own bytes.
    data: SecretBuffer,
    entries: u32,
    length: u64,
    open_part: Option<u64>,
}

impl ManifestWriter {
    /// A writer of a file made of chunks of a domain of this size.
    #[must_use]
    pub fn chunks(size: ChunkSize) -> Self {
        Self {
            chunk_size: Some(size),
            part_runs: Vec::new(),
            entry_runs: Vec::new(),
            data: SecretBuffer::new(),
            entries: 0,
            length: 0,
            open_part: None,
        }
    }

    /// A writer of a file that lives in its manifest.
    ///
    /// # Panics
    /// When `bytes` is longer than [`INLINE_BYTES_MAX`].
    #[must_use]
    pub fn inline(bytes: &[u8]) -> Self {
        assert!(bytes.len() as u64 <= INLINE_BYTES_MAX, "small files live in manifests");
        let mut writer = Self::chunks(ChunkSize::DEFAULT);
        writer.chunk_size = None;
        writer.data.extend(bytes);
        writer.length = bytes.len() as u64;
        writer
    }

    /// Appends the next chunk of the open part. All but the last chunk of a part are of the full
    /// size.
    ///
    /// # Errors
    /// `LimitExceeded` beyond 8,388,608 chunks or 10,000 runs.
    ///
    /// # Panics
    /// When the file lives in its manifest, or the chunk does not fit behind the one before it.
    pub fn push(&mut self, chunk: &ChunkRef) -> Result<()> {
        let size = self.chunk_size.expect("a file of chunks").bytes();
        assert!((1..=size).contains(&chunk.length), "a chunk has 1 to C bytes");
        let part = self.open_part.get_or_insert(0);
        assert!(part.is_multiple_of(u64::from(size)), "a short chunk ends its part");
        *part += u64::from(chunk.length);
        self.length += u64::from(chunk.length);
        let ChunkRef { domain, epoch, naming, .. } = *chunk;
        let run = EntryRun { first: self.entries, domain, epoch, naming };
        if !self.entry_runs.last().is_some_and(|last| last.continues(&run)) {
            self.entry_runs.push(run);
        }
        self.entries += 1;
        if self.entries > ENTRIES_MAX || self.entry_runs.len() > ENTRY_RUNS_MAX {
            return Err(Error::new(ErrorKind::LimitExceeded, "chunks of a file"));
        }
        self.data.extend(&chunk.id.0);
        self.data.extend(chunk.key.expose());
        self.data.extend(&chunk.length.to_le_bytes());
        Ok(())
    }

    /// Ends a part, which may be empty. A file that is no upload's result needs no call.
    ///
    /// # Errors
    /// `LimitExceeded` beyond 10,000 runs of parts of equal length.
    pub fn end_part(&mut self) -> Result<()> {
        let length = self.open_part.take().unwrap_or(0);
        match self.part_runs.last_mut() {
            Some(last) if last.length == length => last.count += 1,
            _ => self.part_runs.push(PartRun { count: 1, length }),
        }
        if self.part_runs.len() > PART_RUNS_MAX {
            return Err(Error::new(ErrorKind::LimitExceeded, "parts of a file"));
        }
        Ok(())
    }

    /// Bytes of the file so far.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Seals the manifest under a new id. Every call of the same content gives other bytes.
    ///
    /// # Errors
    /// `LimitExceeded` beyond 10,000 part runs.
    ///
    /// # Panics
    /// When a field of `spec` is longer than its limit, or digests are out of order.
    pub fn seal(
        mut self,
        spec: ManifestSpec<'_>,
        keys: ManifestKeys<'_>,
        entropy: &dyn Entropy,
    ) -> Result<SealedManifest> {
        if self.chunk_size.is_some() && (self.open_part.is_some() || self.part_runs.is_empty()) {
            self.end_part()?;
        }
        let body = self.body(&spec.tail.encode());
        let id = ManifestId::draw(entropy);
        let root = root_key(keys.item, id);
        let header = Header {
            id,
            body_bytes: u32::try_from(body.len()).expect("entries are limited"),
            commitment: commitment(&root),
            prefix: random(entropy),
        };
        let bound_to = sha256(&[&header.encode()]);
        let id_bytes = spec.id.encode();
        let mut head = header.encode().to_vec();
        put_lp(&mut head, &seal_id(keys.vault, &bound_to, &id_bytes, entropy));
        put_lp(&mut head, &spec.key.seal(keys.vault, &bound_to, entropy));
        let frames = frames(&header, &root, &id_bytes);
        Ok(assemble(header.id, head, frames, body.as_slice()))
    }

    fn body(&self, tail: &[u8]) -> SecretBuffer {
        let count = |length: usize| u32::try_from(length).expect("counts are limited");
        let prelude = Prelude {
            chunk_size: self.chunk_size,
            length: self.length,
            part_runs: count(self.part_runs.len()),
            entry_runs: count(self.entry_runs.len()),
            entries: self.entries,
            tail_bytes: count(tail.len()),
        };
        let mut front = prelude.encode();
        self.part_runs.iter().for_each(|run| run.put(&mut front));
        self.entry_runs.iter().for_each(|run| run.put(&mut front));
        let length = usize::try_from(prelude.body_bytes()).expect("entries are limited");
        let mut body = SecretBuffer::with_capacity(length);
        body.extend(&front);
        body.extend(self.data.as_slice());
        body.extend(tail);
        assert_eq!(body.len() as u64, prelude.content_bytes(), "sections are as announced");
        let content = count(body.len());
        body.pad_to(length - 4);
        body.extend(&content.to_le_bytes());
        body
    }
}
