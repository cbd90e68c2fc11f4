//! The stream that checks a body while it passes.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::Stream;
use md5::{Digest as _, Md5};
use readvault_store::vault::BodyError;

use super::{Body, Checksum, Declared, checksum::Hasher};
use crate::{Fault, FaultKind, fault::Result};

/// What was computed of a body that passed its checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    /// Its MD5, where it was declared or wanted.
    pub md5: Option<[u8; 16]>,
    /// Its checksums, where they were declared or asked for.
    pub checksums: Vec<Checksum>,
}

/// Where the digests of a body stand once it was read to its end without an error. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Noted(Arc<OnceLock<Digests>>);

impl Noted {
    /// The digests; empty before the end, and of a body that nothing was computed of.
    #[must_use]
    pub fn digests(&self) -> Digests {
        self.0.get().cloned().unwrap_or_default()
    }
}

/// Whether the MD5 of a body is wanted although none was declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Md5Wish {
    /// It is.
    Wanted,
    /// It is not.
    Unwanted,
}

/// Passes a body through and computes what was declared of it. At the end of the body, or as soon
/// as it is longer than declared, it gives a [`Fault`] in place of the end when anything differs;
/// so whoever reads it to its end without an error has the bytes that were declared.
pub struct Checking {
    body: Body,
    left: u64,
    md5: Option<Md5>,
    hashers: Vec<Hasher>,
    noted: Noted,
    ended: bool,
}

impl std::fmt::Debug for Checking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checking").field("body", &self.body).finish_non_exhaustive()
    }
}

impl Checking {
    /// Checks `body`; computes its MD5 when that was declared or is wanted.
    #[must_use]
    pub fn new(body: Body, md5: Md5Wish) -> Self {
        let declared = &body.declared;
        let wanted = declared.content_md5.is_some() || md5 == Md5Wish::Wanted;
        let mut algorithms: Vec<_> = declared.checksums.iter().map(Checksum::algorithm).collect();
        for algorithm in &declared.compute {
            if !algorithms.contains(algorithm) {
                algorithms.push(*algorithm);
            }
        }
        Self {
            left: body.length,
            md5: wanted.then(Md5::new),
            hashers: algorithms.into_iter().map(Hasher::new).collect(),
            noted: Noted::default(),
            ended: false,
            body,
        }
    }

    /// What was computed; empty unless the stream was read to its end without an error.
    #[must_use]
    pub fn into_digests(self) -> Digests {
        self.noted.digests()
    }

    /// The same, noting its digests in `noted`, too.
    #[must_use]
    pub fn noting(self, noted: Noted) -> Self {
        Self { noted, ..self }
    }

    fn pass(&mut self, bytes: &Bytes) -> Result<()> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(|| {
            Fault::new(FaultKind::IncompleteBody, "the body is longer than its declared length")
        })?;
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        for hasher in &mut self.hashers {
            hasher.update(bytes);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        if self.left != 0 {
            let message = "the body is shorter than its declared length";
            return Err(Fault::new(FaultKind::IncompleteBody, message));
        }
        let Declared { content_md5, checksums, late, .. } = std::mem::take(&mut self.body.declared);
        let md5: Option<[u8; 16]> = self.md5.take().map(|md5| md5.finalize().into());
        if content_md5.is_some() && content_md5 != md5 {
            return Err(bad_digest("Content-MD5"));
        }
        let computed: Vec<Checksum> = self.hashers.drain(..).map(Hasher::finish).collect();
        let late = late.map_or_else(|| Ok(Vec::new()), |late| late())?;
        for declared in checksums.iter().chain(&late) {
            if !computed.contains(declared) {
                return Err(bad_digest(declared.algorithm().name()));
            }
        }
        // The end is met once: nobody noted anything before.
        let _ = self.noted.0.set(Digests { md5, checksums: computed });
        Ok(())
    }
}

fn bad_digest(what: &str) -> Fault {
    Fault::new(FaultKind::BadDigest, format!("the {what} you gave does not match the body"))
}

impl Stream for Checking {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = std::task::ready!(self.body.stream.as_mut().poll_next(cx));
        let item = match polled {
            Some(Ok(bytes)) => self.pass(&bytes).map(|()| Some(bytes)).map_err(Into::into),
            Some(Err(error)) => Err(error),
            None => self.end().map(|()| None).map_err(Into::into),
        };
        self.ended = !matches!(item, Ok(Some(_)));
        Poll::Ready(item.transpose())
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
    use futures::StreamExt as _;

    use super::*;
    use crate::body::Algorithm;

    const TEXT: &[u8] = b"one small body, in two pieces";

    fn body(declared: Declared, length: u64) -> Body {
        let pieces = [Ok(Bytes::from_static(&TEXT[..9])), Ok(Bytes::from_static(&TEXT[9..]))];
        Body { stream: Box::pin(futures::stream::iter(pieces)), length, declared }
    }

    fn run(body: Body, md5: Md5Wish) -> Result<Digests, FaultKind> {
        let mut checking = Checking::new(body, md5);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            while let Some(item) = checking.next().await {
                item.map_err(|error| error.downcast::<Fault>().unwrap().kind)?;
            }
            assert!(checking.next().await.is_none());
            Ok(checking.into_digests())
        })
    }

    #[test]
    fn computes_what_is_declared_and_nothing_else() {
        let length = TEXT.len() as u64;
        let nothing = run(body(Declared::default(), length), Md5Wish::Unwanted).unwrap();
        assert_eq!(nothing, Digests::default());
        let declared = Declared {
            checksums: vec![Algorithm::Sha256.of(TEXT)],
            compute: vec![Algorithm::Crc32],
            late: Some(Box::new(|| Ok(vec![Algorithm::Crc32.of(TEXT)]))),
            content_md5: Some(Md5::digest(TEXT).into()),
        };
        let digests = run(body(declared, length), Md5Wish::Unwanted).unwrap();
        assert_eq!(digests.md5, Some(Md5::digest(TEXT).into()));
        let expected = [Algorithm::Sha256, Algorithm::Crc32].map(|a| a.of(TEXT));
        assert_eq!(digests.checksums, expected);
        assert_eq!(BASE64.encode(Md5::digest(TEXT)).len(), 24);
    }

    #[test]
    fn every_difference_is_a_fault_in_place_of_the_end() {
        let length = TEXT.len() as u64;
        let wrong = |declared| run(body(declared, length), Md5Wish::Wanted).unwrap_err();
        assert_eq!(
            wrong(Declared { content_md5: Some([0; 16]), ..Declared::default() }),
            FaultKind::BadDigest
        );
        for algorithm in Algorithm::ALL {
            let early = Declared { checksums: vec![algorithm.of(b"")], ..Declared::default() };
            assert_eq!(wrong(early), FaultKind::BadDigest);
            let late = Declared {
                compute: vec![algorithm],
                late: Some(Box::new(move || Ok(vec![algorithm.of(b"")]))),
                ..Declared::default()
            };
            assert_eq!(wrong(late), FaultKind::BadDigest);
        }
        for length in [0, length - 1, length + 1] {
            let short = run(body(Declared::default(), length), Md5Wish::Unwanted);
            assert_eq!(short.unwrap_err(), FaultKind::IncompleteBody);
        }
    }
}
