//! The side of the command line: connects, shows progress, prints the answer.

use std::{
    io::{IsTerminal, Write},
    os::fd::AsRawFd,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use readvault_ambient::{Clock, System};
use readvault_exec_protocol::frame::{read_frame, write_frame};
use tokio::net::UnixStream;

use super::{
    Answer, Ask, At, Progress,
    protocol::{Refusal, Reply, Request, SOCKET, VERSION},
};

/// Time between two notes of progress on a terminal.
const TERMINAL: Duration = Duration::from_millis(100);

/// Time between two where lines stay: in a file or pipe.
const LINES: Duration = Duration::from_secs(5);

/// What was asked is refused; the status is what this program exits with.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// Exit status.
    pub code: u8,
    message: String,
}

impl Refused {
    pub(super) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Asks the live server, or does what needs none, and prints its answer: data to standard output, progress to
/// standard error.
///
/// # Errors
/// When no server runs for the vault, it is not ours to ask, or it refuses ([`Refused`]).
pub fn ask(ask: Ask) -> Result<()> {
    let at = ask.at().clone();
    if let Some(alone) = ask.command().alone() {
        let answer = alone.run(at.data.as_deref())?;
        print(&at, &answer);
        return Ok(());
    }
    let data = at.data.as_deref().context("name the vault: --data DIR, or READVAULT_DATA")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut screen = Screen::new(at.json);
    let outcome = runtime.block_on(converse(data, ask, &mut screen));
    screen.clear();
    print(&at, &outcome?);
    Ok(())
}

/// Whether a server listens for administrators in `data`.
pub(super) fn is_live(data: &Path) -> bool {
    let directory = std::fs::File::open(data);
    directory.is_ok_and(|open| std::os::unix::net::UnixStream::connect(socket_in(&open)).is_ok())
}

fn print(at: &At, answer: &Answer) {
    if at.json {
        println!("{}", answer.value);
    } else {
        println!("{}", answer.text.trim_end());
    }
}

/// The socket by way of the open data directory: a socket's path has room for 107 bytes only.
fn socket_in(directory: &std::fs::File) -> String {
    format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd())
}

async fn converse(data: &Path, ask: Ask, screen: &mut Screen) -> Result<Answer> {
    let mut stream = connect(data).await?;
    write_frame(&mut stream, &Request { version: VERSION, ask }, &[]).await?;
    loop {
        let reply = read_frame(&mut stream).await.context("the server can't be understood")?;
        match reply.map(|(reply, _)| reply) {
            Some(Reply::Progress(progress)) => screen.show(&progress),
            Some(Reply::Done { text, value }) => return Ok(Answer { text, value }),
            Some(Reply::Refused(refusal)) => return Err(refused(refusal).into()),
            None => bail!("the server ended before it answered; see its log, then ask again"),
        }
    }
}

async fn connect(data: &Path) -> Result<UnixStream> {
    let directory = std::fs::File::open(data)
        .with_context(|| format!("the data directory {} can't be opened", data.display()))?;
    match UnixStream::connect(socket_in(&directory)).await {
        Ok(stream) => Ok(stream),
        Err(cause) if cause.kind() == std::io::ErrorKind::PermissionDenied => {
            bail!("only root and the server's own user may ask the server: use sudo")
        }
        Err(_) => bail!(
            "no server runs for {}: this command needs a live one; start it with `readvaultd serve`",
            data.display()
        ),
    }
}

fn refused(refusal: Refusal) -> Refused {
    let Refusal { code, message, cause } = refusal;
    let message = match cause {
        Some(cause) => format!("{message} ({cause})"),
        None => message,
    };
    Refused::new(code, message)
}

/// Where progress is shown.
struct Screen {
    json: bool,
    terminal: bool,
    shown: Option<Duration>,
}

impl Screen {
    fn new(json: bool) -> Self {
        Self { json, terminal: std::io::stderr().is_terminal(), shown: None }
    }

    fn show(&mut self, progress: &Progress) {
        let now = System.monotonic();
        let pause = if self.terminal && !self.json { TERMINAL } else { LINES };
        if self.shown.is_some_and(|shown| now.saturating_sub(shown) < pause) {
            return;
        }
        self.shown = Some(now);
        let mut out = std::io::stderr();
        let _ = if self.json {
            writeln!(out, "{}", serde_json::json!({ "progress": progress }))
        } else if self.terminal {
            write!(out, "\r\x1b[K{}", line(progress)).and_then(|()| out.flush())
        } else {
            writeln!(out, "{}", line(progress))
        };
    }

    fn clear(&mut self) {
        if self.terminal && !self.json && self.shown.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(progress: &Progress) -> String {
    let Progress { doing, done, of } = progress;
    match of {
        Some(of) => format!("{doing}: {done} of {of}"),
        None => format!("{doing}: {done}"),
    }
}
