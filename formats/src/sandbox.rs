//! The cage that the inspector enters before the first untrusted byte. One way: nothing in here
//! loosens it again.

mod filter;
mod probe;

use std::{fmt, io};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope,
};
use nix::{
    sys::{
        prctl,
        resource::{Resource, setrlimit},
        signal::Signal,
    },
    unistd,
};

pub use self::probe::{Probe, self_test};

/// What a caged process may use.
#[derive(Clone, Copy, Debug)]
pub struct SandboxLimits {
    /// Address space.
    pub memory_bytes: u64,
    /// Processor time.
    pub cpu_seconds: u64,
}

impl Default for SandboxLimits {
    fn default() -> Self {
        Self { memory_bytes: 3 << 30, cpu_seconds: 24 * 3600 }
    }
}

/// How far the cage reaches on this kernel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Landlocked {
    /// The file system is denied twice: by Landlock and by the system call filter.
    Yes,
    /// The kernel has no Landlock: the system call filter alone denies opening anything.
    No,
}

/// A step of entering that failed. Nothing untrusted may be read then.
#[derive(Debug)]
pub struct SandboxError {
    step: &'static str,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl fmt::Display for SandboxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sandbox: {}", self.step)
    }
}

impl std::error::Error for SandboxError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.source)
    }
}

/// Enters the cage: no new privileges, no core dump, dies with its parent, only the descriptors
/// `keep`, resource limits, no file system, and the system calls that reading and writing need.
///
/// Must be called while the process has one thread.
///
/// # Errors
/// The first step that failed. A kernel without Landlock is no error, and is reported.
pub fn enter(limits: SandboxLimits, keep: &[i32]) -> Result<Landlocked, SandboxError> {
    prctl::set_no_new_privs().map_err(at("no_new_privs"))?;
    prctl::set_dumpable(false).map_err(at("dumpable"))?;
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(at("pdeathsig"))?;
    close_others(keep).map_err(at("descriptors"))?;
    // Landlock needs a descriptor for a moment, which the limits then no longer give.
    let landlocked = deny_files().map_err(at("landlock"))?;
    limit(limits).map_err(at("resource limits"))?;
    filter::apply().map_err(at("seccomp"))?;
    Ok(landlocked)
}

fn at<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    step: &'static str,
) -> impl FnOnce(E) -> SandboxError {
    move |source| SandboxError { step, source: source.into() }
}

fn close_others(keep: &[i32]) -> io::Result<()> {
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for descriptor in open {
        if descriptor > 2 && !keep.contains(&descriptor) {
            // The descriptor of the listing itself is in the list and closed by now.
            let _ = unistd::close(descriptor);
        }
    }
    Ok(())
}

fn limit(limits: SandboxLimits) -> nix::Result<()> {
    // Descriptors that are open stay so; no new one can be had.
    let limits = [
        (Resource::RLIMIT_AS, limits.memory_bytes),
        (Resource::RLIMIT_CPU, limits.cpu_seconds),
        (Resource::RLIMIT_NOFILE, 0),
        (Resource::RLIMIT_NPROC, 0),
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_FSIZE, 0),
    ];
    limits.into_iter().try_for_each(|(resource, max)| setrlimit(resource, max, max))
}

fn deny_files() -> Result<Landlocked, landlock::RulesetError> {
    let abi = ABI::V6;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?
        .restrict_self()?;
    match status.ruleset {
        landlock::RulesetStatus::NotEnforced => Ok(Landlocked::No),
        _ => Ok(Landlocked::Yes),
    }
}
