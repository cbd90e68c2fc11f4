//! The inflated bytes of a source, whatever its packing.

use readvault_inspect_protocol::{Container, Limits};

use crate::{
    fault::{Fault, Result},
    gzip::Gunzip,
    source::{Source, SourceDigests},
};

/// A plain or gzipped source.
pub(crate) enum Plain {
    Raw(Box<Source>),
    Gzip(Box<Gunzip>),
}

impl Plain {
    /// Looks at the first two bytes and chooses.
    pub(crate) fn open(mut source: Source, limits: &Limits) -> Result<Self> {
        match source.require(2)? {
            [] => Err(Fault::at_byte(0, "the source is empty")),
            [0x1f, 0x8b, ..] => Ok(Self::Gzip(Box::new(Gunzip::new(source, limits)))),
            _ => Ok(Self::Raw(Box::new(source))),
        }
    }

    /// Makes [`Self::available`] non-empty, or returns false at the end.
    pub(crate) fn refill(&mut self) -> Result<bool> {
        match self {
            Self::Raw(source) => Ok(!source.require(1)?.is_empty()),
            Self::Gzip(gunzip) => gunzip.refill(),
        }
    }

    pub(crate) fn available(&self) -> &[u8] {
        match self {
            Self::Raw(source) => source.available(),
            Self::Gzip(gunzip) => gunzip.available(),
        }
    }

    pub(crate) fn consume(&mut self, count: usize) {
        match self {
            Self::Raw(source) => source.consume(count),
            Self::Gzip(gunzip) => gunzip.consume(count),
        }
    }

    /// Offset in the source that a fault found here is reported at.
    pub(crate) fn source_byte(&self) -> u64 {
        match self {
            Self::Raw(source) => source.position(),
            Self::Gzip(gunzip) => gunzip.member_byte(),
        }
    }

    /// Number of the current gzip member; `None` for a plain source.
    pub(crate) fn member(&self) -> Option<u64> {
        match self {
            Self::Raw(_) => None,
            Self::Gzip(gunzip) => Some(gunzip.member_number()),
        }
    }

    pub(crate) fn finish(self) -> Result<(Container, SourceDigests)> {
        match self {
            Self::Raw(source) => Ok((Container::Plain, source.finish()?)),
            Self::Gzip(gunzip) => gunzip.finish(),
        }
    }
}
