//! `readvault-exec shim`: the docker- and podman-compatible command that engines call.
//!
//! A thin client of the run's supervisor: it reads its arguments, sends one request over the
//! supervisor's socket, carries standard input, output and signals, and ends with docker's exit
//! codes. It decides nothing that matters for safety: what it refuses, the protocol cannot even say.
//! Plain blocking I/O, so that it starts fast.

use std::{ffi::OsString, io::Write, path::PathBuf, process::ExitCode};

use crate::shim_protocol::{EXIT_REFUSED, SOCKET, ShimReply, ShimRequest};

mod connection;
mod flags;
pub(crate) mod frame;
mod invocation;
mod report;
mod session;

use connection::Connection;
use invocation::{Invocation, Refusal};

/// Names another socket than [`SOCKET`].
const SOCKET_VARIABLE: &str = "READVAULT_SHIM_SOCKET";

/// Runs the command line that follows the name of the program. `name` is that name, `docker` or
/// `podman`; it changes what `--version` says and nothing else.
///
/// Must be called before any thread is started. Answers the exit code: the container's own, 128+n
/// for a signal, 125 when the supervisor refused or is gone, 126 and 127 as docker's, 1 for an
/// `inspect` that found nothing.
pub fn main(name: &str, arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let socket = std::env::var_os(SOCKET_VARIABLE).map_or_else(|| SOCKET.into(), PathBuf::from);
    let code = match Invocation::parse(arguments) {
        Ok(Invocation::Version) => {
            print(report::version(name).as_bytes());
            0
        }
        Ok(invocation) => match Connection::open(&socket) {
            Ok(connection) => dispatch(invocation, connection, &socket),
            Err(cause) => lost(&format!("the run's supervisor does not answer: {cause}")),
        },
        Err(Refusal(reason)) => {
            // Whether or not it is heard: the reason is on standard error as well.
            if let Ok(mut connection) = Connection::open(&socket) {
                let _ = connection.ask(&ShimRequest::RefusedFlag { reason: reason.clone() });
            }
            lost(&reason)
        }
    };
    ExitCode::from(u8::try_from(code & 0xff).unwrap_or(u8::MAX))
}

/// True when a program called by `path` is meant to be the shim.
pub fn is_called_by(path: &std::ffi::OsStr) -> Option<&'static str> {
    match PathBuf::from(path).file_name()?.to_str()? {
        "docker" => Some("docker"),
        "podman" => Some("podman"),
        _ => None,
    }
}

fn dispatch(invocation: Invocation, connection: Connection, socket: &std::path::Path) -> i32 {
    let requests = match invocation {
        Invocation::Run { container, cidfile } => {
            return session::run(connection, container, cidfile.as_deref());
        }
        Invocation::Ask { requests, show } => (requests, show),
        Invocation::Version => return 0,
    };
    let (requests, show) = requests;
    let mut first = Some(connection);
    let mut code = 0;
    let mut replies = Vec::new();
    for request in requests {
        // One request a connection.
        let connection = first.take().map_or_else(|| Connection::open(socket), Ok);
        match connection.and_then(|mut connection| connection.ask(&request)) {
            Ok(ShimReply::Refused { reason, code: refused }) => {
                complain(&reason);
                let inspecting = matches!(request, ShimRequest::Inspect { .. });
                code = if inspecting { 1 } else { refused };
            }
            Ok(reply) => replies.push(reply),
            Err(cause) => return lost(&format!("the run's supervisor is gone: {cause}")),
        }
    }
    print(report::text(&show, &replies).as_bytes());
    code
}

fn print(text: &[u8]) {
    // Whoever closed our standard output does not want the rest.
    let _ = std::io::stdout().write_all(text).and_then(|()| std::io::stdout().flush());
}

fn complain(reason: &str) {
    let _ = writeln!(std::io::stderr(), "Error: {reason}");
}

fn lost(reason: &str) -> i32 {
    complain(reason);
    EXIT_REFUSED
}
