//! A payload as a row of sealed 64 KiB frames, each of which opens alone.

use std::{fmt, ops::Range};

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};

use super::{RecordError, SecretKey, TAG_BYTES, aead::cipher};

/// Plain bytes of a frame; the last may be shorter.
pub const FRAME_BYTES: usize = 64 << 10;

/// Stored bytes of a whole frame.
pub const SEALED_FRAME_BYTES: usize = FRAME_BYTES + TAG_BYTES;

/// Random bytes at the front of every nonce, drawn anew at every sealing.
pub const PREFIX_BYTES: usize = 7;

/// The frames of one payload: key, nonce prefix, what they are bound to, and the payload's length,
/// which decides how many there are and which is the last.
pub struct Frames {
    key: LessSafeKey,
    prefix: [u8; PREFIX_BYTES],
    aad: [u8; 32],
    payload_bytes: usize,
}

impl Frames {
    /// The frames of a payload of `payload_bytes` (at least 1) bytes.
    ///
    /// # Panics
    /// When the payload is empty.
    pub fn new(
        key: &impl SecretKey,
        prefix: [u8; PREFIX_BYTES],
        aad: [u8; 32],
        payload_bytes: u32,
    ) -> Self {
        assert!(payload_bytes > 0, "a payload has at least one byte");
        Self { key: cipher(key), prefix, aad, payload_bytes: payload_bytes as usize }
    }

    /// How many frames a payload of `payload_bytes` has.
    #[must_use]
    pub fn count_of(payload_bytes: u32) -> u32 {
        payload_bytes.div_ceil(FRAME_BYTES as u32)
    }

    /// Stored bytes of all frames of a payload of `payload_bytes`.
    #[must_use]
    pub fn sealed_bytes_of(payload_bytes: u32) -> u64 {
        u64::from(payload_bytes) + u64::from(Self::count_of(payload_bytes)) * TAG_BYTES as u64
    }

    /// The frames that hold the bytes `range` (not empty) of the payload.
    #[must_use]
    pub fn holding(range: &Range<u32>) -> Range<u32> {
        range.start / FRAME_BYTES as u32..range.end.div_ceil(FRAME_BYTES as u32)
    }

    /// Where `frames` lie among the stored bytes of all frames.
    #[must_use]
    pub fn sealed_range(&self, frames: &Range<u32>) -> Range<u64> {
        let end = u64::from(frames.end) * SEALED_FRAME_BYTES as u64;
        let all = self.payload_bytes as u64 + u64::from(self.count()) * TAG_BYTES as u64;
        u64::from(frames.start) * SEALED_FRAME_BYTES as u64..end.min(all)
    }

    /// Seals the whole payload, once: takes the frames, so that no nonce is used twice.
    ///
    /// # Panics
    /// When `payload` or `out` is not of the exact length.
    pub fn seal(self, payload: &[u8], out: &mut [u8]) {
        assert_eq!(payload.len(), self.payload_bytes, "the payload has the announced length");
        let expected = payload.len() + self.count() as usize * TAG_BYTES;
        assert_eq!(out.len(), expected, "the output has room for every frame and tag");
        let pieces = payload.chunks(FRAME_BYTES).zip(out.chunks_mut(SEALED_FRAME_BYTES));
        for (index, (plain, sealed)) in (0..).zip(pieces) {
            let (text, tag) = sealed.split_at_mut(plain.len());
            self.key
                .seal_out_of_place_scatter(self.nonce(index), self.aad(), plain, text, &[], tag)
                .expect("a frame is far below the limit of AES-GCM");
        }
    }

    /// Opens consecutive frames, the first of which is number `first`; gives their plain bytes.
    ///
    /// # Errors
    /// `Length` when `sealed` is not a whole number of this payload's frames; `Authentication` when
    /// a frame was changed, moved, or belongs to another payload.
    pub fn open(&self, first: u32, sealed: &[u8]) -> Result<Vec<u8>, RecordError> {
        let count = u32::try_from(sealed.len().div_ceil(SEALED_FRAME_BYTES))
            .map_err(|_| RecordError::Length)?;
        let end = first.checked_add(count).ok_or(RecordError::Length)?;
        let stored = self.sealed_range(&(first..end));
        if count == 0 || end > self.count() || stored.end - stored.start != sealed.len() as u64 {
            return Err(RecordError::Length);
        }
        let mut plain = vec![0; sealed.len() - count as usize * TAG_BYTES];
        let pieces = sealed.chunks(SEALED_FRAME_BYTES).zip(plain.chunks_mut(FRAME_BYTES));
        for (index, (sealed, plain)) in (first..).zip(pieces) {
            self.open_one(index, sealed, plain)?;
        }
        Ok(plain)
    }

    /// Opens frame `index` into `plain`, which holds anything when that fails.
    ///
    /// # Errors
    /// `Length` when there is no such frame or a length is not its; `Authentication` as
    /// [`Frames::open`].
    pub fn open_one(&self, index: u32, sealed: &[u8], plain: &mut [u8]) -> Result<(), RecordError> {
        let stored = index < self.count() && {
            let stored = self.sealed_range(&(index..index + 1));
            stored.end - stored.start == sealed.len() as u64
        };
        if !stored || plain.len() + TAG_BYTES != sealed.len() {
            return Err(RecordError::Length);
        }
        let (text, tag) = sealed.split_at(plain.len());
        self.key
            .open_separate_gather(self.nonce(index), self.aad(), text, tag, plain)
            .map_err(|_| RecordError::Authentication)
    }

    fn count(&self) -> u32 {
        Self::count_of(u32::try_from(self.payload_bytes).expect("it was made of 32 bits"))
    }

    fn aad(&self) -> Aad<&[u8; 32]> {
        Aad::from(&self.aad)
    }

    /// prefix ‖ u32 big-endian index ‖ u8 last.
    fn nonce(&self, index: u32) -> Nonce {
        let mut nonce = [0; 12];
        nonce[..PREFIX_BYTES].copy_from_slice(&self.prefix);
        nonce[PREFIX_BYTES..11].copy_from_slice(&index.to_be_bytes());
        nonce[11] = u8::from(index + 1 == self.count());
        Nonce::assume_unique_for_key(nonce)
    }
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frames({} bytes)", self.payload_bytes)
    }
}
