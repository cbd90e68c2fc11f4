//! What the launched server gives up before it loads a key.

use anyhow::{Context, Result, bail};
use nix::{
    sys::{prctl, signal::Signal},
    unistd::{Gid, Uid, getppid, setgid, setgroups, setuid},
};

/// Becomes `uid` (no supplementary groups, no capabilities), can't be dumped or traced, and dies with the
/// launcher. Blocked signals of the launcher are let through again.
///
/// # Errors
/// When any of it is refused: the server then must not start.
pub fn drop_to(uid: u32) -> Result<()> {
    let launcher = getppid();
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
    setgroups(&[group]).context("supplementary groups can't be dropped")?;
    setgid(group).context("the group can't be changed")?;
    setuid(user).context("the user can't be changed")?;
    harden()?;
    // After the change of user, which clears it.
    prctl::set_pdeathsig(Signal::SIGKILL).context("the death signal can't be set")?;
    if getppid() != launcher {
        bail!("the launcher is gone");
    }
    nix::sys::signal::SigSet::all().thread_unblock().context("signals can't be unblocked")?;
    Ok(())
}

/// Lets this process open as many files as its starter allows, and says how many that are.
#[must_use]
pub fn open_files_max() -> u64 {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 1024 };
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    }
}

/// No core dumps, no tracing, no new privileges: for every process that holds keys.
///
/// # Errors
/// When any of it is refused.
pub fn harden() -> Result<()> {
    use nix::sys::resource::{Resource, setrlimit};
    setrlimit(Resource::RLIMIT_CORE, 0, 0).context("core dumps can't be switched off")?;
    prctl::set_dumpable(false).context("dumping can't be switched off")?;
    prctl::set_no_new_privs().context("new privileges can't be ruled out")?;
    Ok(())
}
