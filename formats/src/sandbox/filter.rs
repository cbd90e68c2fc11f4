//! The system calls that a caged process may make.

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

/// What reading, writing, allocating, hashing and ending need.
const ALLOWED: &[i64] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_madvise,
    libc::SYS_mprotect,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_clock_gettime,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_tgkill,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// What the standard library may try by itself, above all when a panic is reported: it is told
/// that it may not, and goes on.
const REFUSED: &[i64] = &[
    libc::SYS_openat,
    libc::SYS_readlinkat,
    libc::SYS_getcwd,
    libc::SYS_ioctl,
    libc::SYS_statx,
    libc::SYS_newfstatat,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_fcntl,
    libc::SYS_poll,
    libc::SYS_sched_getaffinity,
    libc::SYS_prctl,
    libc::SYS_seccomp,
    libc::SYS_prlimit64,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
];

/// Installs two filters, of which the kernel takes the stricter answer: one kills the process for
/// any call that is in neither list, the other refuses what is in the second. The second list
/// holds the calls that install filters, so it comes last.
pub(super) fn apply() -> Result<(), seccompiler::Error> {
    let known = ALLOWED.iter().chain(REFUSED).copied();
    let errno = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let kill = filter(known, SeccompAction::KillProcess, SeccompAction::Allow)?;
    let refuse = filter(REFUSED.iter().copied(), SeccompAction::Allow, errno)?;
    seccompiler::apply_filter(&kill)?;
    seccompiler::apply_filter(&refuse)
}

fn filter(
    calls: impl Iterator<Item = i64>,
    otherwise: SeccompAction,
    listed: SeccompAction,
) -> Result<BpfProgram, seccompiler::BackendError> {
    let rules: BTreeMap<i64, Vec<seccompiler::SeccompRule>> =
        calls.map(|call| (call, Vec::new())).collect();
    SeccompFilter::new(rules, otherwise, listed, ARCH)?.try_into()
}

#[cfg(target_arch = "x86_64")]
const ARCH: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCH: TargetArch = TargetArch::aarch64;
