//! CIGAR operations (SAM specification §1.4.6, §4.2.2).

const OPERATIONS: [u8; 9] = *b"MIDNSHP=X";
const SOFT: u8 = b'S';
const HARD: u8 = b'H';

/// Lengths that a CIGAR covers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct CigarSpan {
    pub(super) query: u64,
    pub(super) reference: u64,
}

/// The packed operations of `bytes`; a trailing partial word cannot occur.
pub(super) fn operations(bytes: &[u8]) -> impl DoubleEndedIterator<Item = (u32, u8)> + '_ {
    bytes.chunks_exact(4).map(|word| {
        let word = u32::from_le_bytes(word.try_into().expect("chunks have four bytes"));
        (word >> 4, (word & 0xf) as u8)
    })
}

/// Checks codes and the places of clips, and sums what is consumed.
pub(super) fn check(bytes: &[u8]) -> Result<CigarSpan, String> {
    let mut span = CigarSpan::default();
    for (length, code) in operations(bytes) {
        let letter = letter(code)?;
        let length = u64::from(length);
        if b"MIS=X".contains(&letter) {
            span.query += length;
        }
        if b"MDN=X".contains(&letter) {
            span.reference += length;
        }
    }
    check_clips(bytes)?;
    Ok(span)
}

/// The letter of an operation code.
pub(super) fn letter(code: u8) -> Result<u8, String> {
    OPERATIONS
        .get(usize::from(code))
        .copied()
        .ok_or_else(|| format!("its CIGAR has the unknown operation {code}"))
}

/// H stands only at the ends, S only there or next to an H.
fn check_clips(bytes: &[u8]) -> Result<(), String> {
    let is = |code: u8, wanted: u8| OPERATIONS[usize::from(code)] == wanted;
    let mut rest = bytes;
    for wanted in [HARD, SOFT] {
        if let Some((_, code)) = operations(rest).next()
            && is(code, wanted)
        {
            rest = &rest[4..];
        }
        if let Some((_, code)) = operations(rest).next_back()
            && is(code, wanted)
        {
            rest = &rest[..rest.len() - 4];
        }
    }
    if operations(rest).any(|(_, code)| is(code, HARD) || is(code, SOFT)) {
        return Err("its CIGAR clips in the middle".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(operations: &[(u32, u8)]) -> Vec<u8> {
        operations
            .iter()
            .flat_map(|(length, letter)| {
                let code = OPERATIONS.iter().position(|known| known == letter).unwrap() as u32;
                (length << 4 | code).to_le_bytes()
            })
            .collect()
    }

    #[test]
    fn spans_and_clips() {
        let cigar = pack(&[(2, b'H'), (3, b'S'), (10, b'M'), (1, b'D'), (4, b'I'), (2, b'S')]);
        assert_eq!(check(&cigar), Ok(CigarSpan { query: 19, reference: 11 }));
        for bad in [
            &[(2, b'S'), (1, b'H'), (5, b'M')][..],
            &[(5, b'M'), (1, b'S'), (5, b'M')],
            &[(5, b'M'), (1, b'H'), (5, b'M')],
        ] {
            assert!(check(&pack(bad)).is_err(), "{bad:?}");
        }
        assert!(check(&0x1f_u32.to_le_bytes()).is_err());
        assert_eq!(check(&[]), Ok(CigarSpan::default()));
    }
}
