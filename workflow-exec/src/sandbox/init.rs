//! Process 1 of a container: starts the program, passes signals on, reaps, ends with its exit code.
//!
//! Runs after every privilege is gone and the system call filter is set, as the code of the helper
//! that was cloned into the container: no file of the image is needed for it.

use std::{collections::HashMap, ffi::CString, io::Write};

use libcontainer::{
    oci_spec::runtime::Spec,
    workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError},
};
use nix::{
    errno::Errno,
    sys::{
        prctl,
        signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, execvpe, fork},
};

/// Starts the program of a bundle as a child of process 1.
#[derive(Clone, Debug)]
pub(super) struct Init;

impl Executor for Init {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let process = spec.process().as_ref().ok_or(ExecutorError::InvalidArg)?;
        let argv = strings(process.args().as_deref().unwrap_or_default())?;
        let env = strings(process.env().as_deref().unwrap_or_default())?;
        if argv.is_empty() {
            return Err(ExecutorError::InvalidArg);
        }
        close_inherited();
        // Ends the container with its helper; set after the last change of credentials.
        prctl::set_pdeathsig(Signal::SIGKILL).map_err(other)?;
        let blocked = SigSet::all();
        blocked.thread_set_mask().map_err(other)?;
        // SAFETY: this process has one thread, so the child may run any code.
        #[expect(unsafe_code, reason = "process 1 and the program are two processes")]
        let forked = unsafe { fork() }.map_err(other)?;
        match forked {
            ForkResult::Child => end(start(&argv, &env)),
            ForkResult::Parent { child } => {
                prctl::set_dumpable(false).map_err(other)?;
                end(attend(child, &blocked))
            }
        }
    }

    fn validate(&self, _spec: &Spec) -> Result<(), ExecutorValidationError> {
        // A program that is not there is exit code 127, not a broken sandbox.
        Ok(())
    }

    fn setup_envs(&self, _envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        // The bundle's list is handed to execvpe; the helper's own environment is empty.
        Ok(())
    }
}

/// Closes all but the standard streams: process 1 is never replaced by exec, which would do so.
fn close_inherited() {
    #[expect(unsafe_code, reason = "no safe call closes a range")]
    // SAFETY: nothing in this process uses another descriptor from here on.
    unsafe {
        libc::close_range(3, u32::MAX, 0);
    }
}

fn strings(values: &[String]) -> Result<Vec<CString>, ExecutorError> {
    values
        .iter()
        .map(|value| CString::new(value.as_bytes()).map_err(|_| ExecutorError::InvalidArg))
        .collect()
}

fn other(errno: Errno) -> ExecutorError {
    ExecutorError::Other(errno.to_string())
}

/// Becomes the program, or says why not and gives docker's exit code for that.
fn start(argv: &[CString], env: &[CString]) -> i32 {
    // Rust ignores SIGPIPE; a shell's pipeline needs it.
    #[expect(unsafe_code, reason = "restores a default disposition before exec")]
    // SAFETY: no handler is installed, only the default restored.
    let _ =
        unsafe { nix::sys::signal::signal(Signal::SIGPIPE, nix::sys::signal::SigHandler::SigDfl) };
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    // execvpe looks in PATH of the caller's environment, so that must be the program's own.
    let path = env.iter().find_map(|pair| pair.to_str().ok()?.strip_prefix("PATH="));
    let Err(errno) = execute(argv, env, path.unwrap_or("/usr/local/bin:/usr/bin:/bin"));
    let name = argv[0].to_string_lossy();
    let _ = writeln!(std::io::stderr(), "{name}: {}", errno.desc());
    if errno == Errno::ENOENT { 127 } else { 126 }
}

fn execute(
    argv: &[CString],
    env: &[CString],
    path: &str,
) -> Result<std::convert::Infallible, Errno> {
    let name = argv[0].to_string_lossy().into_owned();
    if name.contains('/') {
        return execvpe(&argv[0], argv, env);
    }
    let mut worst = Errno::ENOENT;
    for dir in path.split(':') {
        let Ok(candidate) = CString::new(format!("{dir}/{name}")) else { continue };
        let Err(errno) = execvpe(&candidate, argv, env);
        if errno != Errno::ENOENT && errno != Errno::ENOTDIR {
            worst = errno;
        }
    }
    Err(worst)
}

/// Reaps and passes signals on until the program ends; gives its exit code.
fn attend(program: Pid, signals: &SigSet) -> i32 {
    loop {
        let Ok(signal) = signals.wait() else { continue };
        if signal != Signal::SIGCHLD {
            let _ = kill(program, signal);
            continue;
        }
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == program => return code,
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == program => {
                    return 128 + signal as i32;
                }
                Ok(WaitStatus::StillAlive) | Err(_) => break,
                Ok(_) => {}
            }
        }
    }
}

/// Ends this process at once: no destructor and no handler of the helper may run here.
fn end(code: i32) -> ! {
    #[expect(unsafe_code, reason = "std::process::exit would run the helper's exit handlers")]
    // SAFETY: _exit has no precondition.
    unsafe {
        libc::_exit(code)
    }
}
