//! One source's bytes as uploaded: buffered, counted and digested as they go by.

use std::io::Read;

use crc_fast::CrcAlgorithm;
use md5::Md5;
use sha2::{Digest, Sha256};

use crate::fault::{Fault, Result};

const BUFFER_BYTES: usize = 512 << 10;

/// Digests of a whole source.
pub(crate) struct SourceDigests {
    pub(crate) byte_count: u64,
    pub(crate) sha256: String,
    pub(crate) md5: String,
    pub(crate) crc64nvme: u64,
}

/// A source. Every byte that enters the buffer is digested, once, in order.
pub(crate) struct Source {
    inner: Box<dyn Read>,
    declared_length: Option<u64>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    position: u64,
    ended: bool,
    sha256: Sha256,
    md5: Md5,
    crc64nvme: crc_fast::Digest,
}

impl Source {
    pub(crate) fn new(inner: Box<dyn Read>, declared_length: Option<u64>) -> Self {
        Self {
            inner,
            declared_length,
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
            position: 0,
            ended: false,
            sha256: Sha256::new(),
            md5: Md5::new(),
            crc64nvme: crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme),
        }
    }

    /// Offset of the first unconsumed byte.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Bytes that are buffered and not consumed.
    pub(crate) fn available(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    pub(crate) fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.end - self.start);
        self.start += count;
        self.position += count as u64;
    }

    /// Makes at least `count` bytes available, fewer only where the source ends.
    pub(crate) fn require(&mut self, count: usize) -> Result<&[u8]> {
        while self.end - self.start < count && !self.ended {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            }
            if self.buffer.len() < count {
                self.buffer.resize(count.next_power_of_two(), 0);
            }
            self.read_more()?;
        }
        Ok(self.available())
    }

    fn read_more(&mut self) -> Result<()> {
        let count = loop {
            match self.inner.read(&mut self.buffer[self.end..]) {
                Ok(count) => break count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Fault::Input(error)),
            }
        };
        let fresh = &self.buffer[self.end..self.end + count];
        self.sha256.update(fresh);
        self.md5.update(fresh);
        self.crc64nvme.update(fresh);
        self.end += count;
        self.ended = count == 0;
        Ok(())
    }

    /// Digests of the whole source, which must have been consumed to its end.
    pub(crate) fn finish(mut self) -> Result<SourceDigests> {
        let rest = self.require(1)?.len();
        debug_assert_eq!(rest, 0, "a check stopped before the end of its source");
        let byte_count = self.position + rest as u64;
        if let Some(declared) = self.declared_length.filter(|declared| *declared != byte_count) {
            let reason = format!("the source has {byte_count} bytes, {declared} were declared");
            return Err(Fault::at_byte(byte_count, reason));
        }
        Ok(SourceDigests {
            byte_count,
            sha256: hex::encode(self.sha256.finalize()),
            md5: hex::encode(self.md5.finalize()),
            crc64nvme: self.crc64nvme.finalize(),
        })
    }
}
