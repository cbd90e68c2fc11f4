//! The helper process: one container from a prepared bundle, one thread, no judgement.

use std::{
    fs::File,
    io::Write,
    os::fd::{FromRawFd, OwnedFd},
};

use libcontainer::{
    container::builder::ContainerBuilder, error::LibcontainerError, syscall::syscall::SyscallType,
};
use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::{
        prctl,
        signal::Signal,
        wait::{WaitStatus, waitpid},
    },
    unistd::{Pid, getppid},
};

use super::{HelperArgs, Status, init::Init};

/// Makes the container, waits for its end and reports both; the process's exit code.
///
/// Standard streams are the container's. Must be called on the main thread, before any other exists.
pub fn main(args: &HelperArgs) -> u8 {
    let Ok(mut status) = status_pipe(args.status_fd) else { return 125 };
    let outcome = match run(args, &mut status) {
        Ok(code) => Status::Exited { code },
        Err(cause) => Status::Failed { message: explain(&cause) },
    };
    say(&mut status, &outcome);
    0
}

fn status_pipe(number: i32) -> Result<File, nix::errno::Errno> {
    fcntl(number, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    #[expect(unsafe_code, reason = "the descriptor comes by number over exec")]
    // SAFETY: the supervisor opened this descriptor for us and nothing else here knows it.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(number) }))
}

fn run(args: &HelperArgs, status: &mut File) -> Result<i32, LibcontainerError> {
    let refuse = |why: &str| LibcontainerError::InvalidInput(why.to_owned());
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|errno| refuse(errno.desc()))?;
    if getppid() != Pid::from_raw(args.parent) {
        return Err(refuse("the supervisor is gone"));
    }
    let mut container = ContainerBuilder::new(args.id.clone(), SyscallType::default())
        .with_root_path(&args.state)?
        .with_executor(Init)
        .validate_id()?
        .as_init(&args.bundle)
        .with_systemd(false)
        .with_detach(true)
        .build()?;
    let pid = container.pid().ok_or_else(|| refuse("the container has no process"))?;
    container.start()?;
    say(status, &Status::Started { pid: pid.as_raw() });
    loop {
        match waitpid(pid, None) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(128 + signal as i32),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(refuse(errno.desc())),
        }
    }
}

fn say(status: &mut File, line: &Status) {
    // A supervisor that is gone reads nothing; its death ends this process too.
    if let Ok(mut text) = serde_json::to_vec(line) {
        text.push(b'\n');
        let _ = status.write_all(&text);
    }
}

fn explain(cause: &dyn std::error::Error) -> String {
    let mut text = cause.to_string();
    let mut next = cause.source();
    while let Some(inner) = next {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        next = inner.source();
    }
    text
}
