//! Blocking twin of `readvault_exec_protocol::frame`, for the small processes of a run that have no
//! runtime: the shim and the mount.

use std::io::{self, Read, Write};

use readvault_exec_protocol::frame::{HEADER_BYTES_MAX, PAYLOAD_BYTES_MAX};
use serde::{Serialize, de::DeserializeOwned};

/// Writes one frame. After an error the connection can't be used.
///
/// # Errors
/// What the connection says; nothing was written when a length is above its limit.
pub(crate) fn write_frame(
    mut writer: impl Write,
    header: &impl Serialize,
    payload: &[u8],
) -> io::Result<()> {
    let header = serde_json::to_vec(header)?;
    let mut frame = Vec::with_capacity(8 + header.len() + payload.len());
    frame.extend_from_slice(&checked(header.len(), HEADER_BYTES_MAX)?.to_le_bytes());
    frame.extend_from_slice(&checked(payload.len(), PAYLOAD_BYTES_MAX)?.to_le_bytes());
    frame.extend_from_slice(&header);
    frame.extend_from_slice(payload);
    writer.write_all(&frame)
}

/// Reads one frame; none when the peer ended the connection between two frames.
///
/// # Errors
/// What the connection says; `InvalidData` for a header that is not `H`. The connection can't be
/// used after one.
pub(crate) fn read_frame<H: DeserializeOwned>(
    mut reader: impl Read,
) -> io::Result<Option<(H, Vec<u8>)>> {
    let mut lengths = [0; 8];
    match reader.read_exact(&mut lengths) {
        Err(end) if end.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        outcome => outcome?,
    }
    let [a, b, c, d, e, f, g, h] = lengths;
    let mut take = |length: u32, limit: usize| {
        let length = length as usize;
        checked(length, limit)?;
        let mut content = vec![0; length];
        reader.read_exact(&mut content).map(|()| content)
    };
    let header = take(u32::from_le_bytes([a, b, c, d]), HEADER_BYTES_MAX)?;
    let payload = take(u32::from_le_bytes([e, f, g, h]), PAYLOAD_BYTES_MAX)?;
    Ok(Some((serde_json::from_slice(&header)?, payload)))
}

fn checked(length: usize, limit: usize) -> io::Result<u32> {
    match u32::try_from(length) {
        Ok(short) if length <= limit => Ok(short),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is above its limit")),
    }
}

#[cfg(test)]
mod tests {
    use readvault_exec_protocol::run::RunReply;

    use super::*;

    #[test]
    fn the_twins_understand_each_other() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let header = RunReply::Output { sha256: "ab".into(), length: 3 };
        let mut blocking = Vec::new();
        write_frame(&mut blocking, &header, b"payload").unwrap();
        let mut other = Vec::new();
        let written = readvault_exec_protocol::frame::write_frame(&mut other, &header, b"payload");
        runtime.block_on(written).unwrap();
        assert_eq!(blocking, other);
        let (read, payload) = read_frame::<RunReply>(other.as_slice()).unwrap().unwrap();
        assert_eq!((format!("{read:?}"), payload), (format!("{header:?}"), b"payload".to_vec()));
        assert!(read_frame::<RunReply>(&[][..]).unwrap().is_none());
        for length in 8..other.len() {
            assert!(read_frame::<RunReply>(&other[..length]).is_err(), "{length}");
        }
        let huge = [[0xff; 4], [0; 4]].concat();
        assert!(read_frame::<RunReply>(huge.as_slice()).is_err());
    }
}
