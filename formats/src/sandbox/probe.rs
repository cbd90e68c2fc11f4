//! Tries what a caged process must not be able to do.

use std::{
    io,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Stdio},
};

use nix::mount::MsFlags;

/// One forbidden act.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Probe {
    /// Opens a file to read.
    ReadFile,
    /// Opens a file to write.
    WriteFile,
    /// Connects to the network.
    Network,
    /// Starts another program.
    Execute,
    /// Starts a thread, as any clone would be.
    Thread,
    /// Signals another process.
    Signal,
    /// Mounts a file system.
    Mount,
    /// Allocates more than the limit.
    Memory,
}

/// Status of a probe that was told no.
const REFUSED: u8 = 10;
/// Status of a probe that got through.
const ALLOWED: u8 = 11;
const SIGSYS: i32 = 31;

impl Probe {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::ReadFile,
        Self::WriteFile,
        Self::Network,
        Self::Execute,
        Self::Thread,
        Self::Signal,
        Self::Mount,
        Self::Memory,
    ];

    /// Name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadFile => "read-file",
            Self::WriteFile => "write-file",
            Self::Network => "network",
            Self::Execute => "execute",
            Self::Thread => "thread",
            Self::Signal => "signal",
            Self::Mount => "mount",
            Self::Memory => "memory",
        }
    }

    /// The probe of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|probe| probe.name() == name)
    }

    /// Tries it, in a process that has entered the cage; the status to end with.
    #[must_use]
    pub fn attempt(self) -> u8 {
        let succeeded = match self {
            Self::ReadFile => std::fs::File::open("/etc/passwd").is_ok(),
            Self::WriteFile => std::fs::write("/tmp/readvault-inspect-probe", b"x").is_ok(),
            Self::Network => std::net::UdpSocket::bind("127.0.0.1:0").is_ok(),
            Self::Execute => Command::new("/bin/true").status().is_ok(),
            Self::Thread => std::thread::Builder::new().spawn(|| ()).is_ok(),
            Self::Signal => nix::sys::signal::kill(nix::unistd::getpid(), None).is_ok(),
            Self::Mount => {
                let none: Option<&str> = None;
                nix::mount::mount(none, "/tmp", Some("tmpfs"), MsFlags::empty(), none).is_ok()
            }
            Self::Memory => Vec::<u8>::new().try_reserve_exact(1 << 40).is_ok(),
        };
        if succeeded { ALLOWED } else { REFUSED }
    }
}

/// Runs every probe in a process of its own, which `program` starts when called with `probe` and
/// a name; a line of outcome each, and whether all were stopped.
///
/// # Errors
/// When `program` does not start.
pub fn self_test(program: &Path) -> io::Result<(Vec<String>, bool)> {
    let (mut lines, mut sound) = (Vec::new(), true);
    for probe in Probe::ALL {
        let status = Command::new(program)
            .args(["probe", probe.name()])
            .env_clear()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        let (stopped, how) = match (status.signal(), status.code()) {
            (Some(SIGSYS), _) => (true, "killed by the system call filter".to_owned()),
            (_, Some(code)) if code == i32::from(REFUSED) => (true, "refused".to_owned()),
            (_, Some(code)) if code == i32::from(ALLOWED) => (false, "WAS ALLOWED".to_owned()),
            _ => (false, format!("ended otherwise: {status}")),
        };
        sound &= stopped;
        lines.push(format!("{}: {how}", probe.name()));
    }
    Ok((lines, sound))
}
