//! Log lines on their way to the server: whole lines, in order, never in the way of a task.

use bytes::Bytes;
use readvault_exec_protocol::run::{LogName, RunRequest};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::session::Session;

/// Pieces that may wait; beyond them lines are dropped with a marker.
const WAITING_MAX: usize = 256;

/// Bytes after which a piece is sent even without an end of line.
const PIECE_BYTES_MAX: usize = 256 << 10;

enum Entry {
    Lines(LogName, Bytes),
    Flush(oneshot::Sender<()>),
}

/// Takes lines and sends them from a task of its own.
#[derive(Clone, Debug)]
pub(super) struct Logs {
    sender: mpsc::Sender<Entry>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Entry")
    }
}

impl Logs {
    /// Starts the sending task, which ends with the last clone of what this gives.
    pub(super) fn start(session: Session) -> (Self, JoinHandle<()>) {
        let (sender, mut receiver) = mpsc::channel(WAITING_MAX);
        let handle = tokio::spawn(async move {
            while let Some(entry) = receiver.recv().await {
                match entry {
                    Entry::Lines(log, lines) => {
                        // A server that refuses a log line refuses the run in its own time.
                        let _ = session.tell(&RunRequest::Log { log }, &lines).await;
                    }
                    Entry::Flush(done) => {
                        let _ = done.send(());
                    }
                }
            }
        });
        (Self { sender }, handle)
    }

    /// Appends whole lines; false when they were dropped because the server is slow.
    pub(super) fn append(&self, log: &LogName, lines: Bytes) -> bool {
        lines.is_empty() || self.sender.try_send(Entry::Lines(log.clone(), lines)).is_ok()
    }

    /// Appends one line to the run's own log.
    pub(super) fn event(&self, line: &str) {
        let line = line.replace(['\n', '\r'], " ");
        self.append(&LogName::Run, Bytes::from(format!("{line}\n")));
    }

    /// Waits until everything that was appended has been sent.
    pub(super) async fn flush(&self) {
        let (done, waited) = oneshot::channel();
        if self.sender.send(Entry::Flush(done)).await.is_ok() {
            let _ = waited.await;
        }
    }
}

/// Cuts a stream into whole lines for one log and remembers its last lines.
#[derive(Debug)]
pub(super) struct LineCutter {
    log: LogName,
    rest: Vec<u8>,
    tail: Vec<u8>,
    dropped: u64,
}

/// Bytes of the end of a stream that a failure message may quote.
const TAIL_BYTES: usize = 2048;

impl LineCutter {
    /// A cutter for `log`.
    pub(super) fn new(log: LogName) -> Self {
        Self { log, rest: Vec::new(), tail: Vec::new(), dropped: 0 }
    }

    /// Takes the next bytes and appends what is whole.
    pub(super) fn push(&mut self, logs: &Logs, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        if self.tail.len() > TAIL_BYTES {
            self.tail.drain(..self.tail.len() - TAIL_BYTES);
        }
        self.rest.extend_from_slice(bytes);
        let end = match self.rest.iter().rposition(|byte| *byte == b'\n') {
            Some(position) => position + 1,
            None if self.rest.len() > PIECE_BYTES_MAX => self.rest.len(),
            None => return,
        };
        let whole: Vec<u8> = self.rest.drain(..end).collect();
        for piece in whole.chunks(PIECE_BYTES_MAX) {
            self.send(logs, piece);
        }
    }

    fn send(&mut self, logs: &Logs, piece: &[u8]) {
        if self.dropped > 0 {
            let marker = format!("[{} bytes of this log were dropped]\n", self.dropped);
            if !logs.append(&self.log, marker.into()) {
                self.dropped += piece.len() as u64;
                return;
            }
            self.dropped = 0;
        }
        if !logs.append(&self.log, Bytes::copy_from_slice(piece)) {
            self.dropped += piece.len() as u64;
        }
    }

    /// Appends an unfinished last line.
    pub(super) fn finish(&mut self, logs: &Logs) {
        if !self.rest.is_empty() {
            let mut rest = std::mem::take(&mut self.rest);
            rest.push(b'\n');
            self.send(logs, &rest);
        }
    }

    /// The last lines, for a failure message: printable, at most `count`.
    pub(super) fn last_lines(&self, count: usize) -> String {
        last_lines(&self.tail, count)
    }
}

/// The last `count` lines of `bytes` as one printable line.
pub(super) fn last_lines(bytes: &[u8], count: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(count);
    let joined = lines[from..].join(" | ");
    joined.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}
