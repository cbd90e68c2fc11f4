//! Frames on the two pipes: one byte of kind, four of length (little-endian), the payload.
//!
//! The child asks ([`WANT`]) and the server grants ([`DATA`]), so that two sources are read in
//! step and neither side ever holds more than one grant a source.

use std::io::{self, Read, Write};

use thiserror::Error;

/// Server to child: the request, JSON.
pub const REQUEST: u8 = 1;
/// Server to child: one byte of source number, then bytes of that source.
pub const DATA: u8 = 2;
/// Server to child: one byte of source number; that source has ended.
pub const END: u8 = 3;
/// Child to server: one byte of source number, the next bytes of which are wanted.
pub const WANT: u8 = 16;
/// Child to server: the next bytes of the index.
pub const INDEX: u8 = 17;
/// Child to server: the next bytes of the verdict, JSON.
pub const VERDICT: u8 = 18;
/// Child to server: the verdict is complete and nothing follows.
pub const DONE: u8 = 19;

/// Bytes of a frame's head.
pub const HEAD_BYTES: usize = 5;
/// Most bytes of a payload.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// Most bytes of a request.
pub const REQUEST_BYTES_MAX: usize = 256 << 20;
/// Most bytes of source in one grant.
pub const GRANT_BYTES_MAX: usize = 256 << 10;

/// A head that no sender of this protocol writes.
#[derive(Debug, Error)]
#[error("frame of kind {kind} claims {length} bytes")]
pub struct FrameError {
    /// Kind byte.
    pub kind: u8,
    /// Claimed length.
    pub length: usize,
}

/// The head of a frame of `kind` with `length` bytes of payload.
///
/// # Panics
/// When `length` does not fit 32 bits, which no caller asks for.
#[must_use]
pub fn encode_head(kind: u8, length: usize) -> [u8; HEAD_BYTES] {
    let [a, b, c, d] = u32::try_from(length).expect("payloads are bounded").to_le_bytes();
    [kind, a, b, c, d]
}

/// Kind and payload length of a head.
///
/// # Errors
/// When the length is beyond what that kind may carry.
pub fn decode_head(head: [u8; HEAD_BYTES]) -> Result<(u8, usize), FrameError> {
    let [kind, a, b, c, d] = head;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    let max = if kind == REQUEST { REQUEST_BYTES_MAX } else { PAYLOAD_BYTES_MAX };
    if length > max { Err(FrameError { kind, length }) } else { Ok((kind, length)) }
}

/// Writes one frame. The caller flushes.
///
/// # Errors
/// Those of the writer.
pub fn write(writer: &mut impl Write, kind: u8, payload: &[u8]) -> io::Result<()> {
    writer.write_all(&encode_head(kind, payload.len()))?;
    writer.write_all(payload)
}

/// Reads one frame's payload into `payload`, replacing it, and returns the kind.
///
/// # Errors
/// Those of the reader, and `InvalidData` for a head that claims too much.
pub fn read(reader: &mut impl Read, payload: &mut Vec<u8>) -> io::Result<u8> {
    let mut head = [0; HEAD_BYTES];
    reader.read_exact(&mut head)?;
    let (kind, length) =
        decode_head(head).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    payload.resize(length, 0);
    reader.read_exact(payload)?;
    Ok(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_and_greedy_heads_do_not() {
        let mut wire = Vec::new();
        write(&mut wire, DATA, b"abc").unwrap();
        let mut payload = Vec::new();
        assert_eq!(read(&mut &wire[..], &mut payload).unwrap(), DATA);
        assert_eq!(payload, b"abc");
        for cut in 0..wire.len() {
            assert!(read(&mut &wire[..cut], &mut payload).is_err(), "cut at {cut}");
        }
        assert!(decode_head([VERDICT, 0xff, 0xff, 0xff, 0x7f]).is_err());
    }
}
