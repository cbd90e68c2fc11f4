//! Reading whole fields from the inflated bytes of a BAM.

use readvault_inspect_protocol::{Container, Place};

use crate::{
    fault::{Fault, Result},
    gzip::Gunzip,
    source::SourceDigests,
};

/// The inflated bytes of a BGZF source, read field by field.
///
/// A field that lies inside one block is lent from there; one that crosses blocks is gathered,
/// growing only as bytes really arrive, so a claimed length costs nothing by itself.
pub(crate) struct Fields {
    gunzip: Gunzip,
    gathered: Vec<u8>,
    pending: usize,
}

impl Fields {
    pub(crate) fn new(gunzip: Gunzip) -> Self {
        Self { gunzip, gathered: Vec::new(), pending: 0 }
    }

    /// BGZF virtual offset of the next field.
    pub(crate) fn virtual_offset(&mut self) -> u64 {
        self.settle();
        self.gunzip.virtual_offset()
    }

    /// The next `length` bytes; shorter only where the source ends.
    pub(crate) fn take(&mut self, length: usize) -> Result<&[u8]> {
        self.settle();
        self.gunzip.refill()?;
        if self.gunzip.available().len() < length {
            return self.gather(length);
        }
        self.pending = length;
        if length == 0 {
            self.gathered.clear();
        }
        Ok(&self.gunzip.available()[..length])
    }

    /// The field that was taken last, of `length` bytes.
    pub(crate) fn taken(&self, length: usize) -> &[u8] {
        if self.pending > 0 { &self.gunzip.available()[..length] } else { &self.gathered[..length] }
    }

    fn gather(&mut self, length: usize) -> Result<&[u8]> {
        self.gathered.clear();
        while self.gathered.len() < length && self.gunzip.refill()? {
            let available = self.gunzip.available();
            let count = available.len().min(length - self.gathered.len());
            self.gathered.extend_from_slice(&available[..count]);
            self.gunzip.consume(count);
        }
        Ok(&self.gathered)
    }

    fn settle(&mut self) {
        self.gunzip.consume(std::mem::take(&mut self.pending));
    }

    /// A refusal at the current block.
    pub(crate) fn fault(&self, record: Option<u64>, reason: String) -> Fault {
        let (byte, block) = (self.gunzip.member_byte(), self.gunzip.member_number());
        let place = Place { byte: Some(byte), block: Some(block), record, line: None };
        Fault::at(place, format!("{reason} (BGZF block {block} at byte {byte})"))
    }

    pub(crate) fn finish(mut self) -> Result<(Container, SourceDigests)> {
        self.settle();
        self.gunzip.finish()
    }
}
