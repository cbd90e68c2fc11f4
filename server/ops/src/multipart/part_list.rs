//! The part list of a Complete, against the parts that were put: pure.

use super::{ChecksumKind, PART_BYTES_MIN, Part};
use crate::{
    Fault, FaultKind,
    body::{Algorithm, Checksum, checksum},
    fault::Result,
    object::{Checksums, OBJECT_BYTES_MAX},
};

/// A part as a Complete names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedPart {
    /// Its number.
    pub number: u32,
    /// Its ETag, without quotes, when it was given.
    pub etag: Option<String>,
    /// Its checksums, when they were given.
    pub checksums: Vec<Checksum>,
}

/// Checks that the list may be one at all: not empty, in ascending order.
///
/// # Errors
/// `InvalidArgument`, `InvalidPartOrder`.
pub fn check_order(named: &[NamedPart]) -> Result<()> {
    if named.is_empty() {
        return Err(Fault::invalid("the part list is empty"));
    }
    if !named.is_sorted_by(|a, b| a.number < b.number) {
        let message = "the list of parts was not in ascending order of part numbers";
        return Err(Fault::new(FaultKind::InvalidPartOrder, message));
    }
    Ok(())
}

/// The parts that `named` names, in order, out of all that were put (ordered by number).
///
/// # Errors
/// `InvalidPart` for a part that was not put, or has another ETag or checksum; `EntityTooSmall` for
/// one below 5 MiB that is not the last; `EntityTooLarge`.
pub fn choose<'a>(named: &[NamedPart], put: &'a [Part]) -> Result<Vec<&'a Part>> {
    let invalid = |number: u32, what: &str| {
        Fault::new(FaultKind::InvalidPart, format!("part {number} {what}"))
    };
    let mut chosen = Vec::with_capacity(named.len());
    let mut length = 0_u64;
    for (index, name) in named.iter().enumerate() {
        let number = name.number;
        let part = put
            .binary_search_by_key(&number, |part| part.number)
            .map(|at| &put[at])
            .map_err(|_| invalid(number, "was not uploaded"))?;
        if name.etag.as_ref().is_some_and(|etag| *etag != part.etag) {
            return Err(invalid(number, "has another ETag"));
        }
        if !name.checksums.iter().all(|checksum| part.checksums.contains(checksum)) {
            return Err(invalid(number, "has another checksum"));
        }
        if index + 1 < named.len() && part.file.length < PART_BYTES_MIN {
            let message = format!("part {number} is smaller than 5 MiB and not the last");
            return Err(Fault::new(FaultKind::EntityTooSmall, message));
        }
        length += part.file.length;
        chosen.push(part);
    }
    if length > OBJECT_BYTES_MAX {
        return Err(Fault::new(FaultKind::EntityTooLarge, "the object is too large"));
    }
    Ok(chosen)
}

/// The checksums of the object that `parts` become.
///
/// # Errors
/// `Corrupt` when a part lacks the checksum that every part of its upload has.
pub fn checksums(kind: Option<(Algorithm, ChecksumKind)>, parts: &[&Part]) -> Result<Checksums> {
    let Some((algorithm, kind)) = kind else { return Ok(Checksums::default()) };
    let missing = || Fault::new(FaultKind::Corrupt, "a part lacks its checksum");
    let mut sums = Vec::with_capacity(parts.len());
    for part in parts {
        let sum = part.checksums.iter().find(|sum| sum.algorithm() == algorithm);
        sums.push((sum.ok_or_else(missing)?.clone(), part.file.length));
    }
    Ok(match kind {
        ChecksumKind::FullObject => Checksums {
            whole: vec![checksum::combine(algorithm, &sums).ok_or_else(missing)?],
            composite: None,
        },
        ChecksumKind::Composite => {
            let sums: Vec<Checksum> = sums.into_iter().map(|(sum, _)| sum).collect();
            let count = u32::try_from(sums.len()).map_err(|_| missing())?;
            let sum = checksum::composite(algorithm, &sums).ok_or_else(missing)?;
            Checksums { whole: Vec::new(), composite: Some((sum, count)) }
        }
    })
}

#[cfg(test)]
mod tests {
    use readvault_store::{
        ids::{ItemId, ManifestId, StoreId},
        vault::FileRef,
    };

    use super::*;

    fn part(number: u32, bytes: &[u8], length: u64) -> Part {
        Part {
            number,
            item: ItemId([1; 16]),
            file: FileRef { store: StoreId([2; 16]), manifest: ManifestId([3; 16]), length },
            etag: format!("etag{number}"),
            modified_ms: 0,
            checksums: vec![Algorithm::Crc32c.of(bytes)],
        }
    }

    fn named(number: u32) -> NamedPart {
        NamedPart { number, etag: Some(format!("etag{number}")), checksums: Vec::new() }
    }

    #[test]
    fn lists_are_checked_part_by_part() {
        let put = [part(1, b"a", PART_BYTES_MIN), part(3, b"b", 1), part(7, b"c", 1)];
        let kind = |named: &[NamedPart]| {
            check_order(named).and_then(|()| choose(named, &put).map(drop)).unwrap_err().kind
        };
        let chosen = choose(&[named(1), named(7)], &put).unwrap();
        assert_eq!(chosen.iter().map(|part| part.number).collect::<Vec<_>>(), [1, 7]);
        assert_eq!(kind(&[]), FaultKind::InvalidArgument);
        assert_eq!(kind(&[named(3), named(1)]), FaultKind::InvalidPartOrder);
        assert_eq!(kind(&[named(1), named(1)]), FaultKind::InvalidPartOrder);
        assert_eq!(kind(&[named(2)]), FaultKind::InvalidPart);
        assert_eq!(kind(&[named(3), named(7)]), FaultKind::EntityTooSmall);
        let other = NamedPart { etag: Some("x".into()), ..named(1) };
        assert_eq!(kind(&[other]), FaultKind::InvalidPart);
        let sum = vec![Algorithm::Crc32c.of(b"x")];
        assert_eq!(kind(&[NamedPart { checksums: sum, ..named(1) }]), FaultKind::InvalidPart);
        let sum = vec![Algorithm::Crc32c.of(b"a")];
        choose(&[NamedPart { checksums: sum, ..named(1) }], &put).unwrap();
    }

    #[test]
    fn checksums_follow_from_those_of_the_parts() {
        let parts = [part(1, b"hello ", 6), part(2, b"world", 5)];
        let parts: Vec<&Part> = parts.iter().collect();
        let full = Some((Algorithm::Crc32c, ChecksumKind::FullObject));
        let full = checksums(full, &parts).unwrap();
        assert_eq!(full.whole, [Algorithm::Crc32c.of(b"hello world")]);
        let composite = Some((Algorithm::Crc32c, ChecksumKind::Composite));
        let (sum, count) = checksums(composite, &parts).unwrap().composite.unwrap();
        let digests: Vec<u8> =
            parts.iter().flat_map(|part| part.checksums[0].value().to_vec()).collect();
        assert_eq!((sum, count), (Algorithm::Crc32c.of(&digests), 2));
        let other = Some((Algorithm::Crc32, ChecksumKind::Composite));
        assert_eq!(checksums(other, &parts).unwrap_err().kind, FaultKind::Corrupt);
        assert_eq!(checksums(None, &parts).unwrap(), Checksums::default());
    }
}
