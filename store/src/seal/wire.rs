//! Canonical fields: little-endian integers, explicit lengths, fixed order.

use super::RecordError;

/// `LP(x)`: u32 length ‖ bytes.
///
/// # Panics
/// When `bytes` is 4 GiB or longer.
#[must_use]
pub fn lp(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + bytes.len());
    put_lp(&mut out, bytes);
    out
}

/// Appends `LP(bytes)` to `out`.
///
/// # Panics
/// When `bytes` is 4 GiB or longer.
pub fn put_lp(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("a field is shorter than 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Eats fields from the front of a slice; refuses to read past its end.
#[derive(Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], RecordError> {
        let (front, rest) = self.0.split_at_checked(length).ok_or(RecordError::Length)?;
        self.0 = rest;
        Ok(front)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        self.take(N).map(|bytes| bytes.try_into().expect("take gives the length asked for"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, RecordError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, RecordError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, RecordError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, RecordError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A field with its length, which may be at most `limit`.
    pub(crate) fn lp(&mut self, limit: usize) -> Result<&'a [u8], RecordError> {
        let length = self.u32()? as usize;
        if length > limit {
            return Err(RecordError::Form("a field is longer than its limit"));
        }
        self.take(length)
    }

    /// A count of entries of `size` bytes each, refused before anything is allocated for them when
    /// the remaining bytes could not hold so many.
    pub(crate) fn count(&mut self, size: usize) -> Result<usize, RecordError> {
        let count = self.u32()? as usize;
        let needed = count.checked_mul(size).ok_or(RecordError::Length)?;
        if needed > self.0.len() { Err(RecordError::Length) } else { Ok(count) }
    }

    /// A text field with its length.
    pub(crate) fn text(&mut self, limit: usize) -> Result<String, RecordError> {
        let bytes = self.lp(limit)?;
        let text =
            std::str::from_utf8(bytes).map_err(|_| RecordError::Form("text is not UTF-8"))?;
        Ok(text.to_owned())
    }

    /// What is left.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Demands that nothing is left.
    pub(crate) fn end(self) -> Result<(), RecordError> {
        if self.0.is_empty() { Ok(()) } else { Err(RecordError::Length) }
    }
}
