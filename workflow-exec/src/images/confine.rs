//! Confines the process that opens an untrusted archive: its root is the tree that it makes, it has
//! a uid that nothing else uses, no network, few system calls and hard limits.
//!
//! To be called while the process has one thread. Nothing can be undone.

use std::{collections::BTreeMap, env, io, os::unix::fs::chown, path::Path};

use landlock::{
    ABI, Access, AccessFs, AccessNet, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use nix::{
    libc,
    sched::{CloneFlags, unshare},
    sys::{
        prctl,
        resource::{Resource, setrlimit},
    },
    unistd::{Gid, Uid, chdir, chroot, geteuid, setgroups, setresgid, setresuid},
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// The uid and gid of an unpacking process: just below those of runs, outside every other range.
const UNPACK_ID: u32 = 1_879_048_191;
/// Most bytes of address space.
const MEMORY_BYTES_MAX: u64 = 1 << 30;
/// Most seconds of processor time for one layer.
const CPU_SECONDS_MAX: u64 = 3600;
/// Most open files.
const FILES_MAX: u64 = 32;

/// Confines this process to `root`, where it may write files of at most `file_bytes_max`.
///
/// Returns the path under which `root` is seen from then on. A process that is not root cannot
/// change its root directory and uid; Landlock and seccomp then stand alone.
pub(super) fn confine(root: &Path, file_bytes_max: u64) -> io::Result<&'static Path> {
    for (resource, limit) in [
        (Resource::RLIMIT_AS, MEMORY_BYTES_MAX),
        (Resource::RLIMIT_CPU, CPU_SECONDS_MAX),
        (Resource::RLIMIT_NOFILE, FILES_MAX),
        (Resource::RLIMIT_FSIZE, file_bytes_max),
        (Resource::RLIMIT_CORE, 0),
    ] {
        setrlimit(resource, limit, limit)?;
    }
    let seen = if geteuid().is_root() {
        chown(root, Some(UNPACK_ID), Some(UNPACK_ID))?;
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS)?;
        chroot(root)?;
        chdir("/")?;
        setgroups(&[])?;
        setresgid(Gid::from_raw(UNPACK_ID), Gid::from_raw(UNPACK_ID), Gid::from_raw(UNPACK_ID))?;
        setresuid(Uid::from_raw(UNPACK_ID), Uid::from_raw(UNPACK_ID), Uid::from_raw(UNPACK_ID))?;
        Path::new("/")
    } else {
        env::set_current_dir(root)?;
        Path::new(".")
    };
    // After the change of uid, which would set it again.
    prctl::set_dumpable(false)?;
    prctl::set_no_new_privs()?;
    restrict_files().map_err(io::Error::other)?;
    let filter = filter().map_err(io::Error::other)?;
    seccompiler::apply_filter(&filter).map_err(io::Error::other)?;
    Ok(seen)
}

/// Allows plain files, directories and links below the working directory; nothing else anywhere.
fn restrict_files() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let abi = ABI::V6;
    let never = AccessFs::Execute
        | AccessFs::MakeChar
        | AccessFs::MakeBlock
        | AccessFs::MakeSock
        | AccessFs::MakeFifo
        | AccessFs::IoctlDev;
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?
        .add_rule(PathBeneath::new(PathFd::new(".")?, AccessFs::from_all(abi) & !never))?
        .restrict_self()?;
    match status.ruleset {
        RulesetStatus::NotEnforced
            if !geteuid().is_root() && Uid::current().as_raw() != UNPACK_ID =>
        {
            Err("this kernel has no Landlock and this user may not change the root".into())
        }
        _ => Ok(()),
    }
}

/// Only what reading a pipe, writing files and ending takes; everything else fails with EPERM.
fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut calls = vec![
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_writev,
        libc::SYS_close,
        libc::SYS_openat,
        libc::SYS_mkdirat,
        libc::SYS_unlinkat,
        libc::SYS_linkat,
        libc::SYS_symlinkat,
        libc::SYS_fchmod,
        libc::SYS_fchmodat,
        libc::SYS_utimensat,
        libc::SYS_statx,
        libc::SYS_fstat,
        libc::SYS_newfstatat,
        libc::SYS_fcntl,
        libc::SYS_lseek,
        libc::SYS_getdents64,
        libc::SYS_mmap,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_mprotect,
        libc::SYS_madvise,
        libc::SYS_brk,
        libc::SYS_futex,
        libc::SYS_getrandom,
        libc::SYS_clock_gettime,
        libc::SYS_sched_yield,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];
    #[cfg(target_arch = "x86_64")]
    calls.extend([
        libc::SYS_mkdir,
        libc::SYS_rmdir,
        libc::SYS_unlink,
        libc::SYS_link,
        libc::SYS_symlink,
        libc::SYS_chmod,
        libc::SYS_stat,
        libc::SYS_lstat,
        libc::SYS_open,
    ]);
    let rules: BTreeMap<_, _> = calls.into_iter().map(|call| (call, Vec::new())).collect();
    SeccompFilter::new(
        rules,
        SeccompAction::Errno(libc::EPERM as u32),
        SeccompAction::Allow,
        env::consts::ARCH.try_into()?,
    )?
    .try_into()
}
