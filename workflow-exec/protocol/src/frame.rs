//! Frames: u32 little-endian length of the header, u32 little-endian length of the payload, the header as
//! JSON, the payload as it is. One request is answered by one or more frames, in order.

use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use bytes::Bytes;

/// Most bytes of a header.
pub const HEADER_BYTES_MAX: usize = 4 << 20;

/// Most bytes of a payload.
pub const PAYLOAD_BYTES_MAX: usize = 4 << 20;

/// Why a frame could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection failed.
    #[error("the connection failed")]
    Io(#[from] std::io::Error),
    /// A length is above its limit.
    #[error("a frame of {0} bytes is above the limit")]
    TooLarge(usize),
    /// The header is not what was expected.
    #[error("the header of a frame is malformed")]
    Malformed(#[from] serde_json::Error),
}

/// Writes one frame and flushes it. Not cancel-safe: drop the connection with the future.
///
/// # Errors
/// [`FrameError`]; nothing was written when it is `TooLarge`.
pub async fn write_frame<W, H>(writer: &mut W, header: &H, payload: &[u8]) -> Result<(), FrameError>
where
    W: AsyncWrite + Unpin,
    H: Serialize,
{
    let header = serde_json::to_vec(header)?;
    let header_length = checked(header.len(), HEADER_BYTES_MAX)?;
    let payload_length = checked(payload.len(), PAYLOAD_BYTES_MAX)?;
    let mut head = Vec::with_capacity(8 + header.len());
    head.extend_from_slice(&header_length.to_le_bytes());
    head.extend_from_slice(&payload_length.to_le_bytes());
    head.extend_from_slice(&header);
    writer.write_all(&head).await?;
    writer.write_all(payload).await?;
    writer.flush().await?;
    Ok(())
}

/// Reads one frame; none when the peer ended the connection between two frames.
///
/// # Errors
/// [`FrameError`]; the connection can't be used after one.
pub async fn read_frame<R, H>(reader: &mut R) -> Result<Option<(H, Bytes)>, FrameError>
where
    R: AsyncRead + Unpin,
    H: DeserializeOwned,
{
    let mut lengths = [0; 8];
    match reader.read_exact(&mut lengths).await {
        Ok(_) => {}
        Err(end) if end.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(cause) => return Err(cause.into()),
    }
    let [a, b, c, d, e, f, g, h] = lengths;
    let header_length = u32::from_le_bytes([a, b, c, d]) as usize;
    let payload_length = u32::from_le_bytes([e, f, g, h]) as usize;
    checked(header_length, HEADER_BYTES_MAX)?;
    checked(payload_length, PAYLOAD_BYTES_MAX)?;
    let mut header = vec![0; header_length];
    reader.read_exact(&mut header).await?;
    let header = serde_json::from_slice(&header)?;
    let mut payload = vec![0; payload_length];
    reader.read_exact(&mut payload).await?;
    Ok(Some((header, payload.into())))
}

fn checked(length: usize, limit: usize) -> Result<u32, FrameError> {
    match u32::try_from(length) {
        Ok(short) if length <= limit => Ok(short),
        _ => Err(FrameError::TooLarge(length)),
    }
}
