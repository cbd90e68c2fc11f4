//! One alignment record (SAM specification §4.2): its fields, bounds-checked.

/// Bytes of the fields before the read name.
pub(super) const FIXED_BYTES: usize = 32;

const FLAG_UNMAPPED: u16 = 4;
const FLAG_MAX: u16 = 0xfff;
const QUALITY_MAX: u8 = 93;

/// A record's fields, borrowed from its bytes. Every length has been checked.
pub(super) struct Record<'a> {
    pub(super) reference_id: i32,
    pub(super) position: i32,
    pub(super) mapping_quality: u8,
    pub(super) flags: u16,
    pub(super) mate_reference_id: i32,
    pub(super) mate_position: i32,
    pub(super) template_length: i32,
    pub(super) name: &'a [u8],
    /// Packed operations, four bytes each.
    pub(super) cigar: &'a [u8],
    /// Bases, two a byte.
    pub(super) sequence: &'a [u8],
    pub(super) quality: &'a [u8],
    pub(super) aux: &'a [u8],
}

impl<'a> Record<'a> {
    /// Splits `bytes`, one record without its length, and checks everything but CIGAR and tags,
    /// which are checked where they are read.
    pub(super) fn parse(bytes: &'a [u8], lengths: &[u32]) -> Result<Self, String> {
        let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED_BYTES>() else {
            return Err("it is shorter than its fixed fields".into());
        };
        let int = |at: usize| {
            i32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]])
        };
        let short = |at: usize| u16::from_le_bytes([fixed[at], fixed[at + 1]]);
        let base_count = usize::try_from(int(16)).map_err(|_| "l_seq is negative")?;
        let mut rest = rest;
        let name = split(&mut rest, usize::from(fixed[8]), "its name")?;
        let cigar = split(&mut rest, usize::from(short(12)) * 4, "its CIGAR")?;
        let sequence = split(&mut rest, base_count.div_ceil(2), "its sequence")?;
        let quality = split(&mut rest, base_count, "its quality")?;
        let record = Self {
            reference_id: int(0),
            position: int(4),
            mapping_quality: fixed[9],
            flags: short(14),
            mate_reference_id: int(20),
            mate_position: int(24),
            template_length: int(28),
            name: check_name(name)?,
            cigar,
            sequence,
            quality,
            aux: rest,
        };
        record.check(lengths)?;
        Ok(record)
    }

    fn check(&self, lengths: &[u32]) -> Result<(), String> {
        if self.flags > FLAG_MAX {
            return Err(format!("FLAG is {}, bits beyond 0x800 are set", self.flags));
        }
        check_place("refID", self.reference_id, "pos", self.position, lengths)?;
        check_mate(self.mate_reference_id, self.mate_position, lengths)?;
        if !self.is_unmapped() && self.reference_id >= 0 && self.position < 0 {
            return Err("it is mapped and has no position".into());
        }
        let missing = self.quality.first() == Some(&0xff);
        let sound = if missing {
            self.quality.iter().fold(true, |sound, value| sound & (*value == 0xff))
        } else {
            self.quality.iter().fold(true, |sound, value| sound & (*value <= QUALITY_MAX))
        };
        if sound { Ok(()) } else { Err("a quality value is beyond 93".into()) }
    }

    pub(super) fn is_unmapped(&self) -> bool {
        self.flags & FLAG_UNMAPPED != 0
    }

    pub(super) fn base_count(&self) -> usize {
        self.quality.len()
    }
}

fn split<'a>(rest: &mut &'a [u8], length: usize, what: &str) -> Result<&'a [u8], String> {
    let Some((field, after)) = rest.split_at_checked(length) else {
        return Err(format!("{what} needs {length} bytes, the record has {}", rest.len()));
    };
    *rest = after;
    Ok(field)
}

/// A name is 1 to 254 printable characters but `@`, and a NUL.
fn check_name(name: &[u8]) -> Result<&[u8], String> {
    let Some((0, name)) = name.split_last() else {
        return Err("its name does not end in NUL".into());
    };
    // htslib pads names with NUL bytes in memory only; in a file one NUL ends the name.
    if name.is_empty() {
        return Err("its name is empty".into());
    }
    if !name.iter().fold(true, |sound, byte| sound & (byte.is_ascii_graphic() & (*byte != b'@'))) {
        return Err("its name has a character that SAM does not allow".into());
    }
    Ok(name)
}

/// A mate's position beyond its sequence is seen in real files and harms nobody.
fn check_mate(id: i32, position: i32, lengths: &[u32]) -> Result<(), String> {
    if position < -1 {
        return Err(format!("next_pos is {position}"));
    }
    let known = id == -1 || usize::try_from(id).is_ok_and(|id| id < lengths.len());
    if known { Ok(()) } else { Err(format!("next_refID is {id}, of {}", lengths.len())) }
}

fn check_place(
    id_name: &str,
    id: i32,
    position_name: &str,
    position: i32,
    lengths: &[u32],
) -> Result<(), String> {
    if position < -1 {
        return Err(format!("{position_name} is {position}"));
    }
    if id == -1 {
        return Ok(());
    }
    let length = usize::try_from(id).ok().and_then(|id| lengths.get(id));
    let Some(length) = length else {
        return Err(format!("{id_name} is {id}, the dictionary has {} entries", lengths.len()));
    };
    if i64::from(position) >= i64::from(*length) {
        return Err(format!("{position_name} is {position}, the sequence has {length} bases"));
    }
    Ok(())
}
