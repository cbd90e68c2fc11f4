//! Optional fields (SAM specification §1.5, §4.2.4): typed, bounds-checked, each tag once.

use super::{cigar, record::Record};
use crate::number_text::{push_float, push_int};

/// One optional field, borrowed.
struct Field<'a> {
    tag: [u8; 2],
    kind: u8,
    /// The value's bytes: without the NUL of a string, without subtype and count of an array.
    value: &'a [u8],
    /// Subtype of an array.
    subtype: u8,
}

/// Writes every field as `\tTAG:TYPE:VALUE`, but `CG` where `skip_long_cigar`.
pub(super) fn write(
    mut bytes: &[u8],
    skip_long_cigar: bool,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let mut seen = TagSet::default();
    while !bytes.is_empty() {
        let field = next(&mut bytes)?;
        if !seen.insert(field.tag) {
            return Err(format!("tag {} stands twice", show(field.tag)));
        }
        if skip_long_cigar && is_long_cigar(&field) {
            continue;
        }
        out.push(b'\t');
        out.extend_from_slice(&field.tag);
        write_value(&field, out).map_err(|what| format!("tag {}: {what}", show(field.tag)))?;
    }
    Ok(())
}

/// The operations in `CG`, where the CIGAR field is the placeholder `<l_seq>S<span>N`.
pub(super) fn long_cigar<'a>(record: &Record<'a>) -> Result<Option<&'a [u8]>, String> {
    let mut operations = cigar::operations(record.cigar);
    let (Some((clipped, 4)), Some((_, 3)), None) =
        (operations.next(), operations.next(), operations.next())
    else {
        return Ok(None);
    };
    if clipped as usize != record.base_count() || record.reference_id < 0 {
        return Ok(None);
    }
    let mut bytes = record.aux;
    while !bytes.is_empty() {
        let field = next(&mut bytes)?;
        if is_long_cigar(&field) {
            return Ok(Some(field.value));
        }
    }
    Ok(None)
}

fn is_long_cigar(field: &Field<'_>) -> bool {
    (&field.tag, field.kind, field.subtype) == (b"CG", b'B', b'I')
}

/// Takes the next field off `bytes`.
fn next<'a>(bytes: &mut &'a [u8]) -> Result<Field<'a>, String> {
    let [first, second, kind, rest @ ..] = *bytes else {
        return Err("its tags are cut".into());
    };
    let tag = [*first, *second];
    if !first.is_ascii_alphabetic() || !second.is_ascii_alphanumeric() {
        return Err("a tag is not a letter and a letter or digit".into());
    }
    let cut = || format!("tag {} is cut", show(tag));
    let (kind, mut subtype) = (*kind, 0);
    let (value, rest) = match kind {
        b'Z' | b'H' => {
            let end = memchr::memchr(0, rest).ok_or_else(cut)?;
            (&rest[..end], &rest[end + 1..])
        }
        b'B' => {
            let (head, rest) = rest.split_first_chunk::<5>().ok_or_else(cut)?;
            subtype = head[0];
            let count = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let size = width(subtype)
                .filter(|_| subtype != b'A')
                .ok_or_else(|| format!("tag {}: unknown array type", show(tag)))?;
            let length = count.checked_mul(size).ok_or_else(cut)?;
            rest.split_at_checked(length).ok_or_else(cut)?
        }
        _ => {
            let size =
                width(kind).ok_or_else(|| format!("tag {}: unknown type {kind}", show(tag)))?;
            rest.split_at_checked(size).ok_or_else(cut)?
        }
    };
    *bytes = rest;
    Ok(Field { tag, kind, value, subtype })
}

/// Bytes of a value of fixed size.
fn width(kind: u8) -> Option<usize> {
    match kind {
        b'A' | b'c' | b'C' => Some(1),
        b's' | b'S' => Some(2),
        b'i' | b'I' | b'f' => Some(4),
        _ => None,
    }
}

fn write_value(field: &Field<'_>, out: &mut Vec<u8>) -> Result<(), String> {
    match field.kind {
        b'A' => {
            if !field.value[0].is_ascii_graphic() {
                return Err("its character is not printable".into());
            }
            out.extend_from_slice(b":A:");
            out.push(field.value[0]);
        }
        b'Z' => {
            let printable = |sound, byte: &u8| sound & (32..=126).contains(byte);
            if !field.value.iter().fold(true, printable) {
                return Err("its string has a character that is not printable".into());
            }
            out.extend_from_slice(b":Z:");
            out.extend_from_slice(field.value);
        }
        b'H' => {
            let hex = field.value.iter().all(u8::is_ascii_hexdigit);
            if !hex || !field.value.len().is_multiple_of(2) {
                return Err("it is not an even number of hexadecimal digits".into());
            }
            out.extend_from_slice(b":H:");
            out.extend_from_slice(field.value);
        }
        b'B' => {
            out.extend_from_slice(b":B:");
            out.push(field.subtype);
            for value in field.value.chunks_exact(width(field.subtype).unwrap_or(1)) {
                out.push(b',');
                push_number(out, field.subtype, value);
            }
        }
        b'f' => {
            out.extend_from_slice(b":f:");
            push_number(out, b'f', field.value);
        }
        kind => {
            out.extend_from_slice(b":i:");
            push_number(out, kind, field.value);
        }
    }
    Ok(())
}

fn push_number(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    match (kind, value) {
        (b'c', [byte]) => push_int(out, i64::from(byte.cast_signed())),
        (b'C', [byte]) => push_int(out, i64::from(*byte)),
        (b's', [a, b]) => push_int(out, i64::from(i16::from_le_bytes([*a, *b]))),
        (b'S', [a, b]) => push_int(out, i64::from(u16::from_le_bytes([*a, *b]))),
        (b'i', [a, b, c, d]) => push_int(out, i64::from(i32::from_le_bytes([*a, *b, *c, *d]))),
        (b'I', [a, b, c, d]) => push_int(out, i64::from(u32::from_le_bytes([*a, *b, *c, *d]))),
        (_, [a, b, c, d]) => push_float(out, f32::from_le_bytes([*a, *b, *c, *d])),
        _ => unreachable!("the width was checked"),
    }
}

fn show(tag: [u8; 2]) -> String {
    tag.iter().map(|byte| char::from(*byte)).collect()
}

/// Tags of one record. Most have fewer than 32; the rest is refused only where one repeats.
#[derive(Default)]
struct TagSet {
    few: [[u8; 2]; 32],
    count: usize,
    many: std::collections::HashSet<[u8; 2]>,
}

impl TagSet {
    fn insert(&mut self, tag: [u8; 2]) -> bool {
        let held = self.count.min(self.few.len());
        if self.few[..held].contains(&tag) {
            return false;
        }
        self.count += 1;
        if held < self.few.len() {
            self.few[held] = tag;
            return true;
        }
        self.many.insert(tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Result<String, String> {
        let mut out = Vec::new();
        write(bytes, false, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn every_type_is_written() {
        let line = text(b"AAAxACC\xffADc\xffZZZhi\0HHH0f\0").unwrap();
        assert_eq!(line, "\tAA:A:x\tAC:i:255\tAD:i:-1\tZZ:Z:hi\tHH:H:0f");
        let float = [&b"AFf"[..], &0.5_f32.to_le_bytes()].concat();
        assert_eq!(text(&float).unwrap(), "\tAF:f:0.5");
        let array = b"BBBS\x02\0\0\0\x01\0\xff\xff";
        assert_eq!(text(array).unwrap(), "\tBB:B:S,1,65535");
        let ints = b"ASs\xfe\xffAIi\xff\xff\xff\xffAJI\xff\xff\xff\xff";
        assert_eq!(text(ints).unwrap(), "\tAS:i:-2\tAI:i:-1\tAJ:i:4294967295");
    }

    #[test]
    fn bad_fields_are_refused() {
        for (bytes, fragment) in [
            (&b"AA"[..], "cut"),
            (b"1AAx", "letter"),
            (b"AAA\x7f", "printable"),
            (b"ZZZhi", "cut"),
            (b"ZZZ\x0b\0", "printable"),
            (b"HHH123\0", "hexadecimal"),
            (b"XXd12345678", "unknown type"),
            (b"BBBI\xff\xff\xff\xffabcd", "cut"),
            (b"BBBZ\x01\0\0\0a", "array type"),
            (b"ZZZ\0ZZZ\0", "twice"),
        ] {
            let reason = text(bytes).unwrap_err();
            assert!(reason.contains(fragment), "{reason} should say {fragment}");
        }
    }
}
