//! A run's own mount name space and the directories in it.
//!
//! Everything stands on two tmpfs that exist in this name space only: a small one for control files and
//! the run's own, which holds inputs, work and the writable layers of containers and counts against one
//! size. Containers see `/mnt/workflow/…`; the same names below [`RunFiles::view`] resolve what an
//! engine asks to be bound or exported, and can't lead outside
//! (docs/decisions/0005-resolution-in-root.md).

use std::{
    fs,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{PermissionsExt, chown},
    },
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{OFlag, OpenHow, ResolveFlag, openat2},
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::statvfs::statvfs,
};
use uuid::Uuid;

use crate::fault::{Doing, FailureReason, Fault};

/// Where the control tmpfs of a supervisor is mounted, in its own name space only. Directories above a
/// container's root must be open to the run's uids, so it can't stand below the agent's state.
pub const BASE: &str = "/run/readvault-exec";

/// Bytes of the control tmpfs.
const CONTROL_BYTES: u64 = 256 << 20;

/// Where containers see the run.
pub(super) const WORKFLOW: &str = "/mnt/workflow";

/// The directories of a run.
#[derive(Clone, Debug)]
pub(super) struct RunFiles {
    /// The run.
    pub run: Uuid,
    /// First uid of its range.
    pub uid: u32,
}

impl RunFiles {
    /// Leaves the node's mount name space and builds the run's directories in a new one.
    ///
    /// Must be called while the process has one thread.
    ///
    /// # Errors
    /// When a mount is refused.
    pub(super) fn build(run: Uuid, uid: u32, scratch_bytes: u64) -> Result<Self, Fault> {
        fs::create_dir_all(BASE).doing("making the mount point of runs")?;
        fs::set_permissions(BASE, fs::Permissions::from_mode(0o711)).doing("its mode")?;
        unshare(CloneFlags::CLONE_NEWNS).doing("making a mount name space")?;
        plain_mount(None, Path::new("/"), None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None)
            .doing("making mounts private")?;
        let options = format!("size={CONTROL_BYTES},mode=0711");
        plain_mount(
            Some("readvault-control"),
            Path::new(BASE),
            Some("tmpfs"),
            SAFE,
            Some(&options),
        )
        .doing("mounting the control tmpfs")?;
        let files = Self { run, uid };
        files.mount_scratch(scratch_bytes)?;
        for dir in [files.work(), files.inputs(), files.definition(), files.layers()] {
            fs::create_dir(&dir).doing("making the run's directories")?;
        }
        chown(files.work(), Some(uid), Some(uid)).doing("handing over the work directory")?;
        fs::set_permissions(files.work(), fs::Permissions::from_mode(0o700)).doing("its mode")?;
        for dir in [files.control("state"), files.control("engine"), files.control("socket")] {
            fs::create_dir(&dir).doing("making control directories")?;
        }
        for (name, source, readonly) in [
            (run.to_string(), files.work(), false),
            ("in".to_owned(), files.inputs(), true),
            ("definition".to_owned(), files.definition(), true),
        ] {
            let target = files.view().join("mnt/workflow").join(name);
            fs::create_dir_all(&target).doing("making the view")?;
            bind(&source, &target, readonly)?;
        }
        Ok(files)
    }

    fn mount_scratch(&self, bytes: u64) -> Result<(), Fault> {
        let point = self.scratch();
        fs::create_dir(&point).doing("making the run's mount point")?;
        let must = format!("size={bytes},mode=0700,uid={0},gid={0}", self.uid);
        // Older kernels know neither; huge pages are worth two to three times the speed.
        let tries = [",noswap,huge=within_size", ",huge=within_size", ",noswap", ""];
        let mut last = nix::errno::Errno::EINVAL;
        for extra in tries {
            let options = format!("{must}{extra}");
            let name = format!("readvault-{}", self.run);
            match plain_mount(Some(&name), &point, Some("tmpfs"), SAFE, Some(&options)) {
                Ok(()) => return Ok(()),
                Err(errno) => last = errno,
            }
        }
        Err(Fault::service(format!("mounting the run's tmpfs: {last}")))
    }

    /// The run's tmpfs.
    pub(super) fn scratch(&self) -> PathBuf {
        Path::new(BASE).join("run")
    }

    /// What containers see as `/mnt/workflow/RUN`.
    pub(super) fn work(&self) -> PathBuf {
        self.scratch().join("work")
    }

    /// What containers see as `/mnt/workflow/in`.
    pub(super) fn inputs(&self) -> PathBuf {
        self.scratch().join("in")
    }

    /// What the engine sees as `/mnt/workflow/definition`.
    pub(super) fn definition(&self) -> PathBuf {
        self.scratch().join("definition")
    }

    /// Writable layers of containers.
    pub(super) fn layers(&self) -> PathBuf {
        self.scratch().join("layers")
    }

    /// A control file or directory.
    pub(super) fn control(&self, name: &str) -> PathBuf {
        Path::new(BASE).join(name)
    }

    /// A root directory in which `/mnt/workflow/…` names the run's files and nothing else exists.
    pub(super) fn view(&self) -> PathBuf {
        Path::new(BASE).join("view")
    }

    /// The run's path as containers see it.
    pub(super) fn work_seen(&self) -> String {
        format!("{WORKFLOW}/{}", self.run)
    }

    /// Opens `path`, as the engine wrote it, without being able to leave the run's files: links are
    /// followed inside the view only, magic links never.
    ///
    /// # Errors
    /// The kernel's, `ENOENT` also for what exists outside the run only.
    pub(super) fn open_seen(&self, path: &str, flags: OFlag) -> Result<OwnedFd, nix::errno::Errno> {
        let view = fs::File::open(self.view())
            .map_err(|cause| nix::errno::Errno::from_raw(cause.raw_os_error().unwrap_or(5)))?;
        open_in(view.as_raw_fd(), path, flags)
    }

    /// Bytes of the run's tmpfs that are in use, and that are free.
    pub(super) fn scratch_usage(&self) -> Option<(u64, u64)> {
        let stat = statvfs(&self.scratch()).ok()?;
        let block = stat.fragment_size();
        Some(((stat.blocks() - stat.blocks_free()) * block, stat.blocks_available() * block))
    }

    /// Unmounts all of it and checks that this name space holds none of it any more.
    ///
    /// # Errors
    /// When something is still mounted.
    pub(super) fn destroy(&self) -> Result<(), Fault> {
        let mine = |point: &str| Path::new(point).starts_with(BASE);
        // Deepest first; a plain unmount fails while anything is open, which is a fault to be told.
        for point in mount_points().into_iter().rev().filter(|point| mine(point)) {
            if umount2(point.as_str(), MntFlags::UMOUNT_NOFOLLOW).is_err() {
                umount2(point.as_str(), MntFlags::MNT_DETACH)
                    .doing(format_args!("unmounting {point}"))?;
            }
        }
        match mount_points().into_iter().find(|point| mine(point)) {
            Some(left) => Err(Fault::service(format!("{left} is still mounted"))),
            None => Ok(()),
        }
    }
}

/// Opens `path` below the directory `root` as if that were `/`.
///
/// # Errors
/// The kernel's.
pub(super) fn open_in(root: i32, path: &str, flags: OFlag) -> Result<OwnedFd, nix::errno::Errno> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let raw = openat2(root, path, how)?;
    Ok(owned(raw))
}

#[expect(unsafe_code, reason = "this version of nix gives plain numbers")]
fn owned(raw: i32) -> OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: the kernel has just given us this descriptor; nothing else knows it.
    unsafe { OwnedFd::from_raw_fd(raw) }
}

/// Flags of every mount that a container can write to.
pub(super) const SAFE: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);

/// mount(2) with text in place of generics.
///
/// # Errors
/// The kernel's.
pub(super) fn plain_mount(
    source: Option<&str>,
    target: &Path,
    kind: Option<&str>,
    flags: MsFlags,
    options: Option<&str>,
) -> nix::Result<()> {
    mount(source, target, kind, flags, options)
}

/// Binds `source` over `target`, nosuid and nodev, and read-only when asked.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn bind(source: &Path, target: &Path, readonly: bool) -> Result<(), Fault> {
    let from = source.to_string_lossy();
    plain_mount(Some(&from), target, None, MsFlags::MS_BIND, None)
        .doing(format_args!("binding {}", target.display()))?;
    let mut flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | SAFE;
    if readonly {
        flags |= MsFlags::MS_RDONLY;
    }
    plain_mount(None, target, None, flags, None)
        .doing(format_args!("protecting {}", target.display()))
}

/// Mount points of this name space, in the order of their mounting.
fn mount_points() -> Vec<String> {
    let listed = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    listed.lines().filter_map(|line| line.split(' ').nth(4)).map(str::to_owned).collect()
}

/// Whether a write failed for want of room.
pub(super) fn no_room(cause: &std::io::Error) -> FailureReason {
    match cause.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => FailureReason::FileSystemOutOfSpace,
        _ => FailureReason::ServiceError,
    }
}
