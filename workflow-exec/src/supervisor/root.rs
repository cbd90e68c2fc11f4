//! A container's root file system: the image below, a fresh layer above, binds on top.
//!
//! Mount points are made in the fresh layer (never in the image's tree) by descriptors that can't leave
//! the container's own root, whatever links an image or an engine planted.

use std::{
    fs::{self, File},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{PermissionsExt, chown},
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag},
    mount::{MntFlags, MsFlags, umount2},
    sys::stat::{Mode, SFlag, fstat, mkdirat, mknodat},
    unistd::{Gid, Uid, fchownat},
};

use super::files::{RunFiles, SAFE, bind, open_in, plain_mount};
use crate::fault::{Doing, FailureReason, Fault};

/// Something to be seen in a container: an opened source, so that nobody can swap it any more.
#[derive(Debug)]
pub(super) struct PreparedBind {
    /// The source, opened with `O_PATH`.
    pub source: OwnedFd,
    /// Absolute path inside the container.
    pub target: String,
    /// Whether writes are refused.
    pub readonly: bool,
}

/// A container's root file system, mounted in the supervisor's name space.
#[derive(Debug)]
pub(super) struct ContainerRoot {
    dir: PathBuf,
    layer: PathBuf,
    uid: u32,
}

impl ContainerRoot {
    /// Mounts the root of container `id` over the image tree `image`.
    ///
    /// # Errors
    /// When a mount is refused or the run's tmpfs is full.
    pub(super) fn build(files: &RunFiles, id: &str, image: &Path) -> Result<Self, Fault> {
        let root = Self {
            dir: files.control(&format!("container-{id}")),
            layer: files.layers().join(id),
            uid: files.uid,
        };
        for dir in [&root.dir, &root.layer] {
            fs::create_dir(dir).doing("making a container's directories")?;
            fs::set_permissions(dir, fs::Permissions::from_mode(0o711)).doing("their mode")?;
        }
        for name in ["image", "root"] {
            fs::create_dir(root.dir.join(name)).doing("making a container's directories")?;
        }
        let writable = ["upper", "work", "tmp", "vartmp"];
        for name in writable {
            fs::create_dir(root.layer.join(name)).map_err(|cause| {
                Fault::new(super::files::no_room(&cause), format!("making a layer: {cause}"))
            })?;
        }
        fs::set_permissions(root.layer.join("upper"), fs::Permissions::from_mode(0o755))
            .doing("a layer's mode")?;
        bind(image, &root.dir.join("image"), true)?;
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            root.dir.join("image").display(),
            root.layer.join("upper").display(),
            root.layer.join("work").display(),
        );
        plain_mount(Some("overlay"), &root.path(), Some("overlay"), SAFE, Some(&options))
            .doing("mounting a container's root")?;
        root.add_standard()?;
        Ok(root)
    }

    /// Where the root is mounted.
    pub(super) fn path(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// Where the bundle goes.
    pub(super) fn bundle(&self) -> &Path {
        &self.dir
    }

    fn add_standard(&self) -> Result<(), Fault> {
        for name in ["/proc", "/dev"] {
            self.make_target(name, true)?;
        }
        for (name, target) in [("tmp", "/tmp"), ("vartmp", "/var/tmp")] {
            let source = self.layer.join(name);
            chown(&source, Some(self.uid), Some(self.uid)).doing("handing over a directory")?;
            fs::set_permissions(&source, fs::Permissions::from_mode(0o1777)).doing("its mode")?;
            let opened = File::open(&source).doing("opening a directory")?;
            self.add(&PreparedBind {
                source: opened.into(),
                target: target.to_owned(),
                readonly: false,
            })?;
        }
        Ok(())
    }

    /// Binds one thing, over what was bound before.
    ///
    /// # Errors
    /// When the target is not acceptable or the kernel refuses.
    pub(super) fn add(&self, wanted: &PreparedBind) -> Result<(), Fault> {
        let stat = fstat(wanted.source.as_raw_fd()).doing("looking at a bind")?;
        let directory = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
        let point = self.make_target(&wanted.target, directory)?;
        let from = format!("/proc/self/fd/{}", wanted.source.as_raw_fd());
        let over = PathBuf::from(format!("/proc/self/fd/{}", point.as_raw_fd()));
        let what = || format!("binding {}", wanted.target);
        plain_mount(Some(&from), &over, None, MsFlags::MS_BIND | MsFlags::MS_REC, None)
            .doing(what())?;
        // The same name now leads to what was mounted on it.
        let mounted = self.open(&wanted.target, OFlag::O_PATH).doing(what())?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", mounted.as_raw_fd()));
        let mut flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | SAFE;
        if wanted.readonly {
            flags |= MsFlags::MS_RDONLY;
        }
        plain_mount(None, &path, None, flags, None).doing(what())
    }

    fn open(&self, path: &str, flags: OFlag) -> Result<OwnedFd, Errno> {
        let root = File::open(self.path())
            .map_err(|cause| Errno::from_raw(cause.raw_os_error().unwrap_or(libc::EIO)))?;
        open_in(root.as_raw_fd(), path, flags)
    }

    /// Opens `target` inside the root, making what is missing of it.
    ///
    /// # Errors
    /// When something of another kind stands there.
    pub(super) fn make_target(&self, target: &str, directory: bool) -> Result<OwnedFd, Fault> {
        let parts: Vec<&str> =
            target.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let mut so_far = String::new();
        let mut parent = self.open("/", OFlag::O_PATH).doing("opening a container's root")?;
        for (index, part) in parts.iter().enumerate() {
            so_far.push('/');
            so_far.push_str(part);
            let is_directory = directory || index + 1 < parts.len();
            parent = match self.open_kind(&so_far, is_directory) {
                Ok(opened) => opened,
                Err(Errno::ENOENT) => {
                    make_one(&parent, part, is_directory, self.uid)
                        .doing(format_args!("making {so_far} in a container"))?;
                    self.open_kind(&so_far, is_directory)
                        .doing(format_args!("opening {so_far} in a container"))?
                }
                Err(errno) => {
                    let message = format!("{so_far} in the container can't be bound over: {errno}");
                    return Err(Fault::new(FailureReason::CannotStartContainer, message));
                }
            };
        }
        Ok(parent)
    }

    fn open_kind(&self, path: &str, directory: bool) -> Result<OwnedFd, Errno> {
        let opened = self.open(path, OFlag::O_PATH)?;
        let kind = fstat(opened.as_raw_fd())?.st_mode & libc::S_IFMT;
        match (directory, kind == libc::S_IFDIR) {
            (true, false) => Err(Errno::ENOTDIR),
            (false, true) => Err(Errno::EISDIR),
            _ => Ok(opened),
        }
    }

    /// Unmounts the root and drops the layer. No process of the container may be left.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn destroy(self) -> Result<(), Fault> {
        umount2(&self.path(), MntFlags::MNT_DETACH).doing("unmounting a container's root")?;
        umount2(&self.dir.join("image"), MntFlags::MNT_DETACH).doing("unmounting an image")?;
        fs::remove_dir_all(&self.layer).doing("dropping a container's layer")?;
        fs::remove_dir_all(&self.dir).doing("dropping a container's bundle")
    }
}

/// Makes one name in `parent` and hands it to the run's uid: it may stand in the run's own files.
///
/// Follows no link, neither in making nor in handing over: the run's code may swap names meanwhile.
///
/// # Errors
/// The kernel's.
pub(super) fn make_one(
    parent: &OwnedFd,
    name: &str,
    directory: bool,
    uid: u32,
) -> Result<(), Errno> {
    let at = parent.as_raw_fd();
    if directory {
        mkdirat(Some(at), name, Mode::from_bits_truncate(0o755))?;
    } else {
        // Plain mknod: makes a regular file, follows nothing and opens nothing.
        mknodat(Some(at), name, SFlag::S_IFREG, Mode::from_bits_truncate(0o644), 0)?;
    }
    let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(uid)));
    fchownat(Some(at), name, owner.0, owner.1, AtFlags::AT_SYMLINK_NOFOLLOW)
}
