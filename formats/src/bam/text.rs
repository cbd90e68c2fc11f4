//! A record as a line of SAM text (SAM specification §1.4), checked while it is written.

use super::{aux, cigar, record::Record};
use crate::number_text::push_int;

/// Base letters by their four bits.
const BASES: [u8; 16] = *b"=ACMGRSVTWYHKDBN";

/// Two letters for each packed byte.
const BASE_PAIRS: [[u8; 2]; 256] = base_pairs();

const fn base_pairs() -> [[u8; 2]; 256] {
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [BASES[byte >> 4], BASES[byte & 0xf]];
        byte += 1;
    }
    pairs
}

/// Appends the line with its newline to `out`; returns where the alignment ends, 0-based and
/// exclusive.
///
/// A CIGAR too long for its field stands in the tag `CG` (SAM specification §4.2.2); the line has
/// it in its place and no `CG`, as SAM text does.
pub(super) fn write(
    record: &Record<'_>,
    names: &[Vec<u8>],
    out: &mut Vec<u8>,
) -> Result<i64, String> {
    let long = aux::long_cigar(record)?;
    let packed = long.unwrap_or(record.cigar);
    let span = cigar::check(packed)?;
    let base_count = record.base_count() as u64;
    if span.query != base_count && base_count > 0 && !packed.is_empty() {
        let query = span.query;
        return Err(format!("its CIGAR covers {query} bases, its sequence has {base_count}"));
    }
    write_place(record, names, packed, out)?;
    write_bases(record, out);
    aux::write(record.aux, long.is_some(), out)?;
    out.push(b'\n');
    let length = if record.is_unmapped() { 1 } else { span.reference.max(1) };
    Ok(i64::from(record.position) + i64::try_from(length).map_err(|_| "its CIGAR is too long")?)
}

fn write_place(
    record: &Record<'_>,
    names: &[Vec<u8>],
    packed: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), String> {
    out.extend_from_slice(record.name);
    push_field(out, i64::from(record.flags));
    out.push(b'\t');
    out.extend_from_slice(reference_name(names, record.reference_id));
    push_field(out, i64::from(record.position) + 1);
    push_field(out, i64::from(record.mapping_quality));
    out.push(b'\t');
    if packed.is_empty() {
        out.push(b'*');
    }
    for (length, code) in cigar::operations(packed) {
        push_int(out, i64::from(length));
        out.push(cigar::letter(code)?);
    }
    out.push(b'\t');
    if record.mate_reference_id >= 0 && record.mate_reference_id == record.reference_id {
        out.push(b'=');
    } else {
        out.extend_from_slice(reference_name(names, record.mate_reference_id));
    }
    push_field(out, i64::from(record.mate_position) + 1);
    push_field(out, i64::from(record.template_length));
    Ok(())
}

fn write_bases(record: &Record<'_>, out: &mut Vec<u8>) {
    out.push(b'\t');
    let base_count = record.base_count();
    if base_count == 0 {
        out.extend_from_slice(b"*\t*");
        return;
    }
    let start = out.len();
    out.extend(record.sequence.iter().flat_map(|byte| BASE_PAIRS[usize::from(*byte)]));
    out.truncate(start + base_count);
    out.push(b'\t');
    if record.quality[0] == 0xff {
        out.push(b'*');
    } else {
        out.extend(record.quality.iter().map(|value| value + 33));
    }
}

fn reference_name(names: &[Vec<u8>], id: i32) -> &[u8] {
    usize::try_from(id).ok().and_then(|id| names.get(id)).map_or(b"*", |name| &name[..])
}

fn push_field(out: &mut Vec<u8>, value: i64) {
    out.push(b'\t');
    push_int(out, value);
}
