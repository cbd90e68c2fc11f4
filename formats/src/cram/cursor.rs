//! Integers of CRAM, read from the front of a slice (CRAM specification §2.3).

/// The bytes ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Cut;

/// Reads from the front of a slice.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Cut> {
        let end = self.at.checked_add(length).ok_or(Cut)?;
        let bytes = self.bytes.get(self.at..end).ok_or(Cut)?;
        self.at = end;
        Ok(bytes)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Cut> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn u32(&mut self) -> Result<u32, Cut> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// ITF8: the leading ones of the first byte count the bytes that follow.
    pub(super) fn itf8(&mut self) -> Result<i32, Cut> {
        let first = self.byte()?;
        let more = first.leading_ones().min(4);
        let mut value = if more == 4 { u32::from(first & 0x0f) } else { u32::from(first) };
        if more < 4 {
            value &= 0xff >> (more + 1).min(8);
        }
        for index in 0..more {
            let byte = u32::from(self.byte()?);
            // Of the fifth byte only four bits count.
            let (shift, byte) = if index == 3 { (4, byte & 0x0f) } else { (8, byte) };
            value = value << shift | byte;
        }
        Ok(value.cast_signed())
    }

    /// LTF8: as ITF8, with up to eight bytes after the first.
    pub(super) fn ltf8(&mut self) -> Result<i64, Cut> {
        let first = self.byte()?;
        let more = first.leading_ones();
        let mut value = if more >= 7 { 0 } else { u64::from(first) & (0xff >> (more + 1)) };
        for _ in 0..more {
            value = value << 8 | u64::from(self.byte()?);
        }
        Ok(value.cast_signed())
    }

    /// An ITF8 that counts something.
    pub(super) fn count(&mut self) -> Result<usize, Cut> {
        usize::try_from(self.itf8()?).map_err(|_| Cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_every_width() {
        for (bytes, value) in [
            (&[0x00][..], 0),
            (&[0x7f], 127),
            (&[0x87, 0x55], 1877),
            (&[0xc7, 0x55, 0x99], 480_665),
            (&[0xe7, 0x55, 0x99, 0x66], 123_050_342),
            (&[0xf7, 0x55, 0x99, 0x66, 0x02], 1_968_805_474),
            (&[0xff, 0xff, 0xff, 0xff, 0x0f], -1),
        ] {
            assert_eq!(Cursor::new(bytes).itf8(), Ok(value), "{bytes:x?}");
            for cut in 0..bytes.len() {
                assert_eq!(Cursor::new(&bytes[..cut]).itf8(), Err(Cut));
            }
        }
        for (bytes, value) in [
            (&[0x55][..], 0x55),
            (&[0x80, 0xaa], 0xaa),
            (&[0xff; 9], -1),
            (&[0xfe, 0, 0, 0, 0, 0, 1, 0], 256),
        ] {
            assert_eq!(Cursor::new(bytes).ltf8(), Ok(value), "{bytes:x?}");
        }
    }
}
