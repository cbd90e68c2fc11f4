//! Values that the SAM specification (§1.3) restricts.

/// Platforms of `@RG PL`. Case is not looked at: much real data has `illumina`.
const PLATFORMS: [&str; 12] = [
    "CAPILLARY",
    "DNBSEQ",
    "ELEMENT",
    "HELICOS",
    "ILLUMINA",
    "IONTORRENT",
    "LS454",
    "ONT",
    "PACBIO",
    "SINGULAR",
    "SOLID",
    "ULTIMA",
];

pub(super) fn version(value: &str) -> Result<(), String> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match value.split_once('.') {
        Some((major, minor)) if digits(major) && digits(minor) => Ok(()),
        _ => Err("VN is not a version such as 1.6".into()),
    }
}

pub(super) fn one_of(tag: &str, value: &str, allowed: &[&str]) -> Result<(), String> {
    if allowed.contains(&value) {
        Ok(())
    } else {
        Err(format!("{tag} is not one of {}", allowed.join(", ")))
    }
}

pub(super) fn sub_sort(value: &str) -> Result<(), String> {
    let part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    let mut parts = value.split(':');
    let order = parts.next().unwrap_or_default();
    let rest: Vec<_> = parts.collect();
    if ["coordinate", "queryname", "unsorted"].contains(&order)
        && !rest.is_empty()
        && rest.into_iter().all(part)
    {
        Ok(())
    } else {
        Err("SS is not a sort order, a colon and a sub-order".into())
    }
}

pub(super) fn md5(value: &str) -> Result<(), String> {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if value.len() == 32 && value.bytes().all(hex) {
        Ok(())
    } else {
        Err("M5 is not 32 lower-case hexadecimal digits".into())
    }
}

/// SAM asks for ISO 8601. Old writers wrote dates in words, so only what has no year is refused.
pub(super) fn date(value: &str) -> Result<(), String> {
    let year = |part: &str| part.len() >= 4 && part.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = value.split(|letter: char| !letter.is_ascii_digit());
    if parts.any(year) { Ok(()) } else { Err("DT is not a date: it has no year".into()) }
}

pub(super) fn platform(value: &str) -> Result<(), String> {
    if PLATFORMS.iter().any(|platform| platform.eq_ignore_ascii_case(value)) {
        Ok(())
    } else {
        Err(format!("PL is not one of {}", PLATFORMS.join(", ")))
    }
}

/// Names that `RNAME` may hold (SAM specification §1.2.1).
pub(super) fn is_sequence_name(name: &str) -> bool {
    let forbidden = |byte: u8| !byte.is_ascii_graphic() || b"\\,\"'`()[]{}<>".contains(&byte);
    !name.is_empty() && !name.starts_with(['*', '=']) && !name.bytes().any(forbidden)
}
