//! The child's side of the conversation with the server, over two pipes.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io::{self, Read, Write},
    rc::Rc,
};

use readvault_inspect_protocol::{InspectRequest, Verdict, frame};

use crate::inspect::Outcome;

/// Both pipes, shared by the sources that read through them.
struct Channel<R, W> {
    input: R,
    output: W,
    arrived: Vec<VecDeque<Grant>>,
}

enum Grant {
    Bytes(Vec<u8>),
    End,
}

/// The conversation, once the request has been read.
pub struct Conversation<R, W> {
    channel: Rc<RefCell<Channel<R, W>>>,
    /// What is asked.
    pub request: InspectRequest,
}

impl<R, W> std::fmt::Debug for Conversation<R, W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conversation").field("request", &self.request).finish_non_exhaustive()
    }
}

impl<R: Read + 'static, W: Write + 'static> Conversation<R, W> {
    /// Reads the request.
    ///
    /// # Errors
    /// Those of the pipe, and `InvalidData` for anything but a request.
    pub fn open(mut input: R, output: W) -> io::Result<Self> {
        let mut payload = Vec::new();
        if frame::read(&mut input, &mut payload)? != frame::REQUEST {
            return Err(invalid("the first frame is not a request"));
        }
        let request: InspectRequest = serde_json::from_slice(&payload)?;
        let arrived = request.sources.iter().map(|_| VecDeque::new()).collect();
        let channel = Rc::new(RefCell::new(Channel { input, output, arrived }));
        Ok(Self { channel, request })
    }

    /// Readers of the sources, each one grant ahead of its parser.
    ///
    /// # Errors
    /// More sources than a frame can number.
    pub fn inputs(&self) -> io::Result<Vec<Box<dyn Read>>> {
        (0..self.request.sources.len())
            .map(|number| {
                let number =
                    u8::try_from(number).map_err(|_| invalid("there are too many sources"))?;
                let channel = Rc::clone(&self.channel);
                let reader =
                    GrantReader { channel, number, bytes: Vec::new(), at: 0, state: State::New };
                Ok(Box::new(reader) as Box<dyn Read>)
            })
            .collect()
    }

    /// Sends the outcome.
    ///
    /// # Errors
    /// Those of the pipe.
    pub fn answer(&self, outcome: &Outcome) -> io::Result<()> {
        let mut channel = self.channel.borrow_mut();
        for piece in outcome.index.iter().flat_map(|index| index.chunks(frame::PAYLOAD_BYTES_MAX)) {
            frame::write(&mut channel.output, frame::INDEX, piece)?;
        }
        send_verdict(&mut channel.output, &outcome.verdict)
    }
}

fn send_verdict(output: &mut impl Write, verdict: &Verdict) -> io::Result<()> {
    for piece in serde_json::to_vec(verdict)?.chunks(frame::PAYLOAD_BYTES_MAX) {
        frame::write(output, frame::VERDICT, piece)?;
    }
    frame::write(output, frame::DONE, &[])?;
    output.flush()
}

impl<R: Read, W: Write> Channel<R, W> {
    fn want(&mut self, number: u8) -> io::Result<()> {
        frame::write(&mut self.output, frame::WANT, &[number])?;
        self.output.flush()
    }

    /// Waits for the grant of `number`, keeping what arrives for others.
    fn grant(&mut self, number: u8) -> io::Result<Grant> {
        loop {
            if let Some(grant) = self.arrived[usize::from(number)].pop_front() {
                return Ok(grant);
            }
            let mut payload = Vec::new();
            let kind = frame::read(&mut self.input, &mut payload)?;
            let Some(owner) = payload.first().map(|owner| usize::from(*owner)) else {
                return Err(invalid("a grant names no source"));
            };
            let grant = match kind {
                frame::DATA => Grant::Bytes(payload),
                frame::END => Grant::End,
                _ => return Err(invalid("a frame is not a grant")),
            };
            self.arrived
                .get_mut(owner)
                .ok_or_else(|| invalid("a grant names an unknown source"))?
                .push_back(grant);
        }
    }
}

enum State {
    New,
    Asked,
    Ended,
}

/// Reads one source. The next grant is asked for before the last one is parsed.
struct GrantReader<R, W> {
    channel: Rc<RefCell<Channel<R, W>>>,
    number: u8,
    bytes: Vec<u8>,
    at: usize,
    state: State,
}

impl<R: Read, W: Write> Read for GrantReader<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.bytes.len() {
            let mut channel = self.channel.borrow_mut();
            match self.state {
                State::Ended => return Ok(0),
                State::New => channel.want(self.number)?,
                State::Asked => {}
            }
            match channel.grant(self.number)? {
                Grant::Bytes(bytes) => {
                    channel.want(self.number)?;
                    self.state = State::Asked;
                    // The first byte names the source.
                    (self.bytes, self.at) = (bytes, 1);
                }
                Grant::End => self.state = State::Ended,
            }
        }
        let count = buffer.len().min(self.bytes.len() - self.at);
        buffer[..count].copy_from_slice(&self.bytes[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
