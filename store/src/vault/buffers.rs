//! Buffers for plain bytes on their way out, used again and again: a new one costs more in page
//! faults than opening what goes into it.

use std::{cell::RefCell, fmt, ops::Range, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use zeroize::Zeroize;

use crate::seal::SEALED_FRAME_BYTES;

/// Bytes of a buffer; what needs more gets one of its own that is not kept.
pub(super) const BUFFER_BYTES: usize = 1 << 20;

/// Buffers that are kept while nobody uses them, until [`Buffers::expire`].
const KEPT_MAX: usize = 16;

/// A stack of buffers: the one given back last is the one whose bytes are still in the
/// processor's cache. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Buffers(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    buffers: Vec<Vec<u8>>,
    /// The fewest that were kept since [`Buffers::expire`]: so many were not needed.
    least: usize,
}

impl Kept {
    fn pop(&mut self) -> Option<Vec<u8>> {
        let buffer = self.buffers.pop();
        self.least = self.least.min(self.buffers.len());
        buffer
    }

    /// Those that nobody took since the last call: they lie at the bottom of the stack.
    fn take_idle(&mut self) -> Vec<Vec<u8>> {
        let idle = self.buffers.drain(..self.least).collect();
        self.least = self.buffers.len();
        idle
    }
}

impl Buffers {
    /// A buffer of at least `bytes`, which holds anything.
    pub(super) fn take(&self, bytes: usize) -> Buffer {
        let kept = if bytes <= BUFFER_BYTES { self.0.lock().pop() } else { None };
        let bytes = kept.unwrap_or_else(|| vec![0; bytes.max(BUFFER_BYTES)]);
        Buffer { bytes, shown: 0..0, home: self.clone() }
    }

    /// Wipes and frees those that nobody took since the last call.
    pub(super) fn expire(&self) {
        let idle = self.0.lock().take_idle();
        idle.into_iter().for_each(|mut bytes| bytes.zeroize());
    }

    /// How many are kept.
    fn count(&self) -> usize {
        self.0.lock().buffers.len()
    }
}

impl fmt::Debug for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffers({} kept)", self.count())
    }
}

/// A buffer, given back when it is dropped.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    shown: Range<usize>,
    home: Buffers,
}

impl Buffer {
    /// All of it, to write to.
    pub(super) fn whole(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Its bytes `range`, without a copy; the buffer is given back with the last handle to them.
    pub(super) fn show(mut self, range: Range<usize>) -> Bytes {
        assert!(range.end <= self.bytes.len(), "a range of the buffer");
        self.shown = range;
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.shown.clone()]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut kept = self.home.0.lock();
        if bytes.len() == BUFFER_BYTES && kept.buffers.len() < KEPT_MAX {
            kept.buffers.push(bytes);
        }
    }
}

/// Lends this thread's buffer for one stored frame.
pub(super) fn with_frame<T>(lend: impl FnOnce(&mut [u8]) -> T) -> T {
    // Under the tests of schedules, threads are theirs (`tests/shuttle`).
    #[cfg(shuttle)]
    use shuttle::thread_local;
    thread_local! {
        static FRAME: RefCell<Vec<u8>> = RefCell::new(vec![0; SEALED_FRAME_BYTES]);
    }
    FRAME.with(|frame| lend(&mut frame.borrow_mut()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_its_last_bytes_are_dropped() {
        let buffers = Buffers::default();
        let mut buffer = buffers.take(3);
        buffer.whole()[..3].copy_from_slice(b"abc");
        let bytes = buffer.show(1..3);
        let rest = bytes.slice(1..);
        drop(bytes);
        assert_eq!((&rest[..], buffers.count()), (&b"c"[..], 0));
        drop(rest);
        assert_eq!(buffers.count(), 1);
        assert_eq!(buffers.take(BUFFER_BYTES).whole()[..3], *b"abc");
    }

    #[test]
    fn what_is_kept_has_a_limit() {
        let buffers = Buffers::default();
        drop(buffers.take(BUFFER_BYTES + 1));
        assert_eq!(buffers.count(), 0);
        let many: Vec<_> = (0..=KEPT_MAX).map(|_| buffers.take(1)).collect();
        drop(many);
        assert_eq!(buffers.count(), KEPT_MAX);
    }

    #[test]
    fn what_nobody_needs_is_let_go_of() {
        let buffers = Buffers::default();
        drop([(); 5].map(|()| buffers.take(1)));
        buffers.expire();
        assert_eq!(buffers.count(), 5, "used since the last look");
        drop([(); 2].map(|()| buffers.take(1)));
        buffers.expire();
        assert_eq!(buffers.count(), 2);
        buffers.expire();
        assert_eq!(buffers.count(), 0);
    }
}
