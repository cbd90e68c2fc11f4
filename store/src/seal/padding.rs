//! Padmé: lengths are rounded up so that at most a few bits of them show.

/// The smallest padded length for `length` (Padmé): with E = ⌊log₂ length⌋ and S = ⌊log₂ E⌋ + 1,
/// the next multiple of 2^(E−S). Adds at most 12 %. Lengths below 2 stay as they are.
///
/// # Panics
/// When the result does not fit.
#[must_use]
pub fn padme(length: u64) -> u64 {
    if length < 2 {
        return length;
    }
    let exponent = length.ilog2();
    let kept = exponent.checked_ilog2().map_or(0, |log| log + 1);
    let step = 1_u64 << (exponent - kept.min(exponent));
    length.checked_next_multiple_of(step).expect("padded lengths fit 64 bits")
}

/// [`padme`], and at least `least`.
#[must_use]
pub fn padded_length(length: u64, least: u64) -> u64 {
    padme(length).max(least)
}

#[cfg(test)]
mod tests {
    use super::padme;

    #[test]
    fn matches_the_definition_and_never_wastes_more_than_an_eighth() {
        assert_eq!(padme(9), 10);
        assert_eq!(padme((1 << 20) + 7), (1 << 20) + (1 << 15));
        for length in (1..70_000).chain([1 << 20, (1 << 20) + 1, (1 << 30) - 1]) {
            let padded = padme(length);
            assert!(padded >= length && padded - length <= length / 8, "{length} -> {padded}");
            assert_eq!(padme(padded), padded, "padding {length} twice changes it");
        }
    }
}
