//! Checksums between S3's headers, trailers and XML, and the operations.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use http::HeaderMap;
use readvault_ops::{
    Fault, FaultKind,
    body::{Algorithm, Checksum, Declared},
    multipart::ChecksumKind,
    object::Checksums,
};
use s3s::{TrailingHeaders, dto};

use crate::fault::Result;

/// The checksums that a DTO holds in its fields, in one list; refuses those that are not computed
/// here.
macro_rules! checksums_of {
    ($dto:expr) => {{
        let dto = &$dto;
        $crate::checksums::parse(&[
            (Some(readvault_ops::body::Algorithm::Crc32), dto.checksum_crc32.as_deref()),
            (Some(readvault_ops::body::Algorithm::Crc32c), dto.checksum_crc32c.as_deref()),
            (Some(readvault_ops::body::Algorithm::Crc64Nvme), dto.checksum_crc64nvme.as_deref()),
            (Some(readvault_ops::body::Algorithm::Sha1), dto.checksum_sha1.as_deref()),
            (Some(readvault_ops::body::Algorithm::Sha256), dto.checksum_sha256.as_deref()),
            (Some(readvault_ops::body::Algorithm::Sha512), dto.checksum_sha512.as_deref()),
            (None, dto.checksum_md5.as_deref()),
            (None, dto.checksum_xxhash3.as_deref()),
            (None, dto.checksum_xxhash64.as_deref()),
            (None, dto.checksum_xxhash128.as_deref()),
        ])
    }};
}

/// Sets the checksum fields of a DTO.
macro_rules! set_checksums {
    ($dto:expr, $checksums:expr) => {{
        let dto = &mut $dto;
        for (algorithm, text) in $checksums {
            match algorithm {
                readvault_ops::body::Algorithm::Crc32 => dto.checksum_crc32 = Some(text),
                readvault_ops::body::Algorithm::Crc32c => dto.checksum_crc32c = Some(text),
                readvault_ops::body::Algorithm::Crc64Nvme => dto.checksum_crc64nvme = Some(text),
                readvault_ops::body::Algorithm::Sha1 => dto.checksum_sha1 = Some(text),
                readvault_ops::body::Algorithm::Sha256 => dto.checksum_sha256 = Some(text),
                readvault_ops::body::Algorithm::Sha512 => dto.checksum_sha512 = Some(text),
            }
        }
    }};
}

pub(crate) use {checksums_of, set_checksums};

/// The checksums of `fields` that are given. A composite value loses its `-N`.
pub(crate) fn parse(fields: &[(Option<Algorithm>, Option<&str>)]) -> Result<Vec<Checksum>> {
    let mut checksums = Vec::new();
    for (algorithm, text) in fields {
        let Some(text) = text else { continue };
        let algorithm = algorithm.ok_or_else(|| unsupported("this checksum algorithm"))?;
        let value = text.split_once('-').map_or(*text, |(value, _)| value);
        checksums.push(Checksum::parse(algorithm, value)?);
    }
    Ok(checksums)
}

/// What a request declares of its body.
///
/// # Errors
/// `InvalidDigest`; `InvalidRequest` for more than one checksum; `NotImplemented`.
pub(crate) fn declared(
    checksums: Vec<Checksum>,
    content_md5: Option<&str>,
    headers: &HeaderMap,
    trailing: Option<TrailingHeaders>,
) -> Result<Declared> {
    // s3s takes an empty field for one that did not come.
    let digest = |name: &str| name == "content-md5" || name.starts_with("x-amz-checksum-");
    if headers.iter().any(|(name, value)| value.is_empty() && digest(name.as_str())) {
        return Err(Fault::new(FaultKind::InvalidDigest, "a digest of the body is empty").into());
    }
    let announced = announced(headers)?;
    if checksums.len() + announced.len() > 1 {
        return Err(Fault::invalid("expecting a single x-amz-checksum- header").into());
    }
    let compute = announced.clone();
    let late = (!announced.is_empty()).then(|| -> readvault_ops::body::Late {
        Box::new(move || announced.iter().map(|a| trailer(*a, trailing.as_ref())).collect())
    });
    let content_md5 = content_md5.map(md5).transpose()?;
    Ok(Declared { content_md5, checksums, compute, late })
}

fn md5(text: &str) -> Result<[u8; 16], Fault> {
    let bytes = BASE64.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| Fault::new(FaultKind::InvalidDigest, "Content-MD5 is not of a legal form"))
}

/// The algorithms whose values stand behind the body (`x-amz-trailer`).
fn announced(headers: &HeaderMap) -> Result<Vec<Algorithm>> {
    let mut algorithms = Vec::new();
    for value in headers.get_all("x-amz-trailer") {
        let text = value.to_str().map_err(|_| Fault::invalid("x-amz-trailer is malformed"))?;
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let name = name.to_ascii_lowercase();
            let Some(algorithm) = name.strip_prefix("x-amz-checksum-") else { continue };
            let known = Algorithm::by_name(algorithm);
            algorithms.push(known.ok_or_else(|| unsupported("this checksum algorithm"))?);
        }
    }
    Ok(algorithms)
}

fn trailer(algorithm: Algorithm, trailing: Option<&TrailingHeaders>) -> Result<Checksum, Fault> {
    let name = format!("x-amz-checksum-{}", algorithm.name().to_ascii_lowercase());
    let text = trailing
        .and_then(|trailing| trailing.read(|headers| headers.get(&name).cloned()))
        .flatten()
        .ok_or_else(|| Fault::invalid("a trailer that x-amz-trailer announced did not come"))?;
    let text = text.to_str().map_err(|_| Fault::invalid("a trailer is malformed"))?;
    Checksum::parse(algorithm, text)
}

/// The algorithm that a request asks for by name.
pub(crate) fn algorithm(name: Option<&dto::ChecksumAlgorithm>) -> Result<Option<Algorithm>> {
    let Some(name) = name else { return Ok(None) };
    let known = Algorithm::by_name(name.as_str());
    known.map(Some).ok_or_else(|| unsupported("this checksum algorithm"))
}

/// The checksum type that a request asks for.
pub(crate) fn kind(name: Option<&dto::ChecksumType>) -> Result<Option<ChecksumKind>> {
    match name.map(dto::ChecksumType::as_str) {
        None => Ok(None),
        Some("COMPOSITE") => Ok(Some(ChecksumKind::Composite)),
        Some("FULL_OBJECT") => Ok(Some(ChecksumKind::FullObject)),
        Some(_) => Err(Fault::invalid("the checksum type is not known").into()),
    }
}

/// The name of a checksum type.
pub(crate) fn kind_name(kind: ChecksumKind) -> dto::ChecksumType {
    dto::ChecksumType::from_static(match kind {
        ChecksumKind::Composite => dto::ChecksumType::COMPOSITE,
        ChecksumKind::FullObject => dto::ChecksumType::FULL_OBJECT,
    })
}

/// Plain checksums as S3 writes them.
pub(crate) fn texts(checksums: &[Checksum]) -> Vec<(Algorithm, String)> {
    checksums.iter().map(|checksum| (checksum.algorithm(), checksum.text())).collect()
}

/// The checksums of an object as S3 writes them, and their type.
pub(crate) fn of_object(
    checksums: &Checksums,
) -> (Vec<(Algorithm, String)>, Option<dto::ChecksumType>) {
    if let Some((checksum, parts)) = &checksums.composite {
        let text = format!("{}-{parts}", checksum.text());
        return (vec![(checksum.algorithm(), text)], Some(kind_name(ChecksumKind::Composite)));
    }
    let texts = texts(&checksums.whole);
    let kind = (!texts.is_empty()).then(|| kind_name(ChecksumKind::FullObject));
    (texts, kind)
}

/// The refusal of something that S3 has and ReadVault has not.
pub(crate) fn unsupported(what: &str) -> crate::fault::Refusal {
    Fault::new(FaultKind::NotImplemented, format!("{what} is not implemented")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(trailer: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-trailer", trailer.parse().unwrap());
        headers
    }

    #[test]
    fn trailers_are_announced_by_name() {
        assert_eq!(announced(&HeaderMap::new()).unwrap(), []);
        let one = announced(&headers("x-amz-checksum-CRC32")).unwrap();
        assert_eq!(one, [Algorithm::Crc32]);
        let two = announced(&headers("x-amz-checksum-crc32c, x-amz-meta-x,")).unwrap();
        assert_eq!(two, [Algorithm::Crc32c]);
        assert!(announced(&headers("x-amz-checksum-xxhash3")).is_err());
    }

    #[test]
    fn one_checksum_at_most_and_a_missing_trailer_is_a_fault() {
        let sum = Algorithm::Crc32.of(b"x");
        let two = declared(vec![sum.clone()], None, &headers("x-amz-checksum-crc32"), None);
        assert!(two.is_err());
        let late = declared(vec![], None, &headers("x-amz-checksum-crc32"), None).unwrap();
        assert_eq!(late.compute, [Algorithm::Crc32]);
        assert!((late.late.unwrap())().is_err());
        assert!(declared(vec![], Some("AAAA"), &HeaderMap::new(), None).is_err());
        let md5 = declared(vec![], Some("1B2M2Y8AsgTpgAmY7PhCfg=="), &HeaderMap::new(), None);
        assert!(md5.unwrap().content_md5.is_some());
    }
}
