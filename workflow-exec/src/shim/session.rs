//! One `run`: a container from its start to its end.

use std::{
    io::{self, Read, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use nix::sys::signal::{SigSet, Signal};

use super::{complain, connection::Connection, lost};
use crate::shim_protocol::{EXIT_REFUSED, RunContainer, ShimReply, ShimRequest};

/// Bytes of standard input in one frame.
const INPUT_BYTES: usize = 64 << 10;

/// Signals that ask for the container's end.
const STOPPING: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT];

type Sender = Arc<Mutex<Connection>>;

/// Runs `container`; answers its exit code.
///
/// The first stopping signal asks the supervisor for SIGTERM, then SIGKILL; repeats are ignored.
/// When this process dies, the end of the connection is SIGKILL for the container.
pub(super) fn run(
    mut connection: Connection,
    container: Box<RunContainer>,
    cidfile: Option<&Path>,
) -> i32 {
    if let Some(path) = cidfile.filter(|path| path.exists()) {
        return lost(&format!("the container id file {path:?} exists already"));
    }
    let interactive = container.interactive;
    // Before any thread exists, so that none of them is interrupted by these signals.
    let signals: SigSet = STOPPING.into_iter().chain([Signal::SIGUSR1, Signal::SIGUSR2]).collect();
    let started = signals
        .thread_block()
        .map_err(io::Error::from)
        .and_then(|()| connection.send(&ShimRequest::Run(container), &[]))
        .and_then(|()| connection.another());
    let sender = match started {
        Ok(sender) => Arc::new(Mutex::new(sender)),
        Err(cause) => return lost(&format!("the run's supervisor does not answer: {cause}")),
    };
    let threads = spawn("signals", {
        let sender = Arc::clone(&sender);
        move || forward_signals(signals, &sender)
    })
    .and_then(|()| match interactive {
        true => spawn("standard input", move || forward_input(&sender)),
        false => Ok(()),
    });
    match threads {
        Ok(()) => receive(connection, cidfile),
        Err(cause) => lost(&format!("no thread can be started: {cause}")),
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // Not joined: both wait for what may never come, and the process ends without them.
    thread::Builder::new().name(name.into()).spawn(body).map(drop)
}

fn receive(mut connection: Connection, cidfile: Option<&Path>) -> i32 {
    loop {
        let (reply, payload) = match connection.receive() {
            Ok(Some(frame)) => frame,
            Ok(None) => return lost("the run's supervisor is gone"),
            Err(cause) => return lost(&format!("the run's supervisor is gone: {cause}")),
        };
        match reply {
            // Whoever closed our standard output must not end the task.
            ShimReply::Stdout => drop(write(io::stdout(), &payload)),
            ShimReply::Stderr => drop(write(io::stderr(), &payload)),
            ShimReply::Started { container } => {
                let written = cidfile.map_or(Ok(()), |path| std::fs::write(path, container));
                if let Err(cause) = written {
                    return lost(&format!("the container id file cannot be written: {cause}"));
                }
            }
            ShimReply::Exited { code } => return code,
            ShimReply::Refused { reason, code } => {
                complain(&reason);
                return if code == 0 { EXIT_REFUSED } else { code };
            }
            _ => return lost("the run's supervisor sent an answer to another question"),
        }
    }
}

fn write(mut target: impl Write, payload: &[u8]) -> io::Result<()> {
    target.write_all(payload)?;
    target.flush()
}

fn forward_signals(signals: SigSet, sender: &Sender) {
    let mut stopping = false;
    while let Ok(signal) = signals.wait() {
        let request = match signal {
            _ if STOPPING.contains(&signal) && stopping => continue,
            _ if STOPPING.contains(&signal) => ShimRequest::Stop { name: String::new() },
            other => ShimRequest::Signal { signal: other as i32 },
        };
        stopping |= matches!(request, ShimRequest::Stop { .. });
        if send(sender, &request, &[]).is_err() {
            return;
        }
    }
}

fn forward_input(sender: &Sender) {
    let mut piece = vec![0; INPUT_BYTES];
    loop {
        let length = io::stdin().read(&mut piece).unwrap_or(0);
        let sent = match length {
            0 => send(sender, &ShimRequest::StdinEnd, &[]),
            _ => send(sender, &ShimRequest::Stdin, &piece[..length]),
        };
        if length == 0 || sent.is_err() {
            return;
        }
    }
}

fn send(sender: &Sender, request: &ShimRequest, payload: &[u8]) -> io::Result<()> {
    sender.lock().unwrap_or_else(PoisonError::into_inner).send(request, payload)
}
