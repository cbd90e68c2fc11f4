//! The value of an entry of the change log, alike in every durable backend.
//!
//! `u32 count ‖ count × (LP(table) ‖ LP(key))`.

use super::{RowKey, Table};

/// The rows that a commit wrote or removed, as an entry's value.
///
/// # Panics
/// When a key is 4 GiB or longer.
#[must_use]
pub fn encode<'a>(rows: impl ExactSizeIterator<Item = &'a RowKey>) -> Vec<u8> {
    let mut out = Vec::new();
    put_length(&mut out, rows.len());
    for row in rows {
        for bytes in [row.table.0.as_bytes(), &row.key] {
            put_length(&mut out, bytes.len());
            out.extend_from_slice(bytes);
        }
    }
    out
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).expect("a commit is smaller than 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
}

/// The rows of an entry; none when it is malformed. `table` knows the catalog's tables by name: rows of
/// others are left out, as nobody can ask for them.
#[must_use]
pub fn decode(mut bytes: &[u8], table: impl Fn(&[u8]) -> Option<Table>) -> Option<Vec<RowKey>> {
    let count = take_length(&mut bytes)?;
    // No capacity is taken from the count: it is only as true as the row.
    let mut rows = Vec::new();
    for _ in 0..count {
        let name = take(&mut bytes)?;
        let key = take(&mut bytes)?;
        rows.extend(table(name).map(|table| RowKey::new(table, key)));
    }
    bytes.is_empty().then_some(rows)
}

fn take_length(bytes: &mut &[u8]) -> Option<usize> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    usize::try_from(u32::from_le_bytes(*length)).ok()
}

fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take_length(bytes)?;
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_survive_and_damage_does_not() {
        let known = Table("alpha");
        let named = |name: &[u8]| (name == b"alpha").then_some(known);
        let rows =
            [RowKey::new(known, "a"), RowKey::new(Table("gone"), "b"), RowKey::new(known, "")];
        let bytes = encode(rows.iter());
        assert_eq!(decode(&bytes, named), Some(vec![rows[0].clone(), rows[2].clone()]));
        assert_eq!(decode(&encode([].iter()), named), Some(vec![]));
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length], named), None);
        }
        assert_eq!(decode(&[0xFF; 64], named), None);
    }
}
