//! A growing buffer of secrets that leaves no stale copy behind when it grows.

use std::fmt;

use zeroize::Zeroizing;

/// Bytes that are wiped when dropped and whenever they move to a larger place.
pub(crate) struct SecretBuffer(Zeroizing<Vec<u8>>);

impl SecretBuffer {
    pub(crate) fn new() -> Self {
        Self(Zeroizing::new(Vec::new()))
    }

    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(capacity)))
    }

    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            let mut larger = Vec::with_capacity(needed.max(2 * self.0.capacity()));
            larger.extend_from_slice(&self.0);
            self.0 = Zeroizing::new(larger);
        }
        self.0.extend_from_slice(bytes);
    }

    /// Appends zeros up to `length`.
    pub(crate) fn pad_to(&mut self, length: usize) {
        let zeros = vec![0; length.saturating_sub(self.0.len())];
        self.extend(&zeros);
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for SecretBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBuffer({} bytes)", self.0.len())
    }
}
