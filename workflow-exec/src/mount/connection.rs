//! The mount's conversations with the server: one question at a time each, asked again over a new
//! connection while the server is away, until patience ends.

use std::{
    io,
    ops::Range,
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use readvault_ambient::Clock;
use readvault_exec_protocol::{
    PROTOCOL_VERSION,
    run::{InputSpec, RunReply, RunRequest},
};

use super::MountParams;
use crate::shim::frame::{read_frame, write_frame};

/// Milliseconds that a reply may take before the connection counts as broken.
const REPLY_MS_MAX: u64 = 20_000;
/// Milliseconds between two attempts, at first and at most.
const PAUSE_MS: Range<u64> = 20..1_000;

/// The mount is lost: no byte is given any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost;

/// The server, through as many connections as are busy at once.
#[derive(Debug)]
pub(super) struct Server {
    socket: PathBuf,
    token: String,
    retry_ms: u64,
    clock: Arc<dyn Clock>,
    idle: Mutex<Vec<UnixStream>>,
    stopping: AtomicBool,
    lost: Mutex<bool>,
    lost_changed: Condvar,
}

/// Why one attempt failed.
enum Attempt {
    /// Another may succeed.
    Broken(String),
    /// None will.
    Refused(String),
}

impl From<io::Error> for Attempt {
    fn from(cause: io::Error) -> Self {
        Self::Broken(cause.to_string())
    }
}

impl Server {
    /// Connects at the first question.
    pub(super) fn new(params: &MountParams, clock: Arc<dyn Clock>) -> Self {
        Self {
            socket: params.server.clone(),
            token: params.token.clone(),
            retry_ms: params.retry_ms,
            clock,
            idle: Mutex::default(),
            stopping: AtomicBool::new(false),
            lost: Mutex::new(false),
            lost_changed: Condvar::new(),
        }
    }

    /// The inputs of the run, or why they are not given. Asked once.
    pub(super) fn inputs(&self) -> Result<Vec<InputSpec>, String> {
        match self.attempt(&RunRequest::Spec) {
            Ok((RunReply::Spec(spec), _)) => Ok(spec.inputs),
            Ok(_) => Err("it answered another question".into()),
            Err(Attempt::Broken(reason) | Attempt::Refused(reason)) => Err(reason),
        }
    }

    /// All bytes of `range`, at most a question's worth.
    pub(super) fn read(&self, input: u32, range: Range<u64>) -> Result<Vec<u8>, Lost> {
        let length = u32::try_from(range.end - range.start).expect("a group is small");
        let request = RunRequest::Read { input, offset: range.start, length };
        let began = self.clock.monotonic();
        let mut pause = PAUSE_MS.start;
        while !self.is_lost() && !self.stopping.load(Ordering::Relaxed) {
            match self.attempt(&request) {
                Ok((RunReply::Data, bytes)) if bytes.len() == length as usize => return Ok(bytes),
                Err(Attempt::Refused(_)) => break,
                // Too few bytes are no better than none: asked again, never filled up.
                Ok(_) | Err(Attempt::Broken(_)) => {}
            }
            let waited = self.clock.monotonic().saturating_sub(began);
            if waited >= Duration::from_millis(self.retry_ms) {
                break;
            }
            thread::sleep(Duration::from_millis(pause));
            pause = (pause * 2).min(PAUSE_MS.end);
        }
        self.lose();
        Err(Lost)
    }

    /// Asks without waiting for a server that is away; for what may be missed.
    pub(super) fn report(&self, request: &RunRequest) {
        let _ = self.attempt(request);
    }

    fn attempt(&self, request: &RunRequest) -> Result<(RunReply, Vec<u8>), Attempt> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let stream = idle.map_or_else(|| self.connect(), Ok)?;
        let answer = exchange(&stream, request)?;
        // Only a connection whose answer was whole is used again.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
        match answer {
            (RunReply::Refused { reason, fatal: true }, _) => Err(Attempt::Refused(reason)),
            (RunReply::Refused { reason, fatal: false }, _) => Err(Attempt::Broken(reason)),
            answer => Ok(answer),
        }
    }

    fn connect(&self) -> Result<UnixStream, Attempt> {
        let stream = UnixStream::connect(&self.socket)?;
        let limit = Some(Duration::from_millis(REPLY_MS_MAX));
        stream.set_read_timeout(limit)?;
        stream.set_write_timeout(limit)?;
        let hello = RunRequest::Hello { version: PROTOCOL_VERSION, token: self.token.clone() };
        match exchange(&stream, &hello)?.0 {
            RunReply::Done => Ok(stream),
            // A server that has just started may not know its runs yet, unless it says so.
            RunReply::Refused { reason, fatal: false } => Err(Attempt::Broken(reason)),
            RunReply::Refused { reason, fatal: true } => Err(Attempt::Refused(reason)),
            _ => Err(Attempt::Broken("it answered another question".into())),
        }
    }

    /// Whether a reader was given an error.
    pub(super) fn is_lost(&self) -> bool {
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a reader is given an error.
    pub(super) fn wait_until_lost(&self) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        while !*lost {
            lost = self.lost_changed.wait(lost).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the patience of all readers.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    fn lose(&self) {
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.lost_changed.notify_all();
    }
}

fn exchange(stream: &UnixStream, request: &RunRequest) -> io::Result<(RunReply, Vec<u8>)> {
    write_frame(stream, request, &[])?;
    read_frame(stream)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}
