//! One conversation with the supervisor.

use std::{io, os::unix::net::UnixStream, path::Path};

use super::frame::{read_frame, write_frame};
use crate::shim_protocol::{ShimReply, ShimRequest};

/// One conversation with the supervisor.
#[derive(Debug)]
pub(super) struct Connection(UnixStream);

impl Connection {
    /// Connects to the supervisor's socket.
    pub(super) fn open(socket: &Path) -> io::Result<Self> {
        UnixStream::connect(socket).map(Self)
    }

    /// A second handle, so that one thread may send while another receives.
    pub(super) fn another(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Sends one request and waits for its reply.
    pub(super) fn ask(&mut self, request: &ShimRequest) -> io::Result<ShimReply> {
        self.send(request, &[])?;
        match self.receive()? {
            Some((reply, _)) => Ok(reply),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Sends one frame.
    pub(super) fn send(&mut self, request: &ShimRequest, payload: &[u8]) -> io::Result<()> {
        write_frame(&self.0, request, payload)
    }

    /// Receives one frame; none when the supervisor ended the conversation.
    pub(super) fn receive(&mut self) -> io::Result<Option<(ShimReply, Vec<u8>)>> {
        read_frame(&self.0)
    }
}
