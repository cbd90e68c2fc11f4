//! Control groups of runs: where they stand, their limits, and ending everything in one.
//!
//! A run's group is `PARENT/run-UUID` with `svc` (supervisor and mount process), `engine` and
//! `task/TASK` below it, in every v1 hierarchy or in the one v2 hierarchy. Groups, not the tree of
//! processes, decide what belongs to a run: a process may leave its parent, never its group.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use readvault_ambient::Clock;

use crate::fault::{Doing, Fault};

mod usage;

/// How long a freeze may take before processes are killed unfrozen.
const FREEZE_WAIT: Duration = Duration::from_millis(500);

/// How long killed processes may take to be gone.
const EMPTY_WAIT: Duration = Duration::from_secs(20);

/// Name of the group of a run's tasks. Not `tasks`: every v1 group has a file of that name.
pub const TASKS: &str = "task";

/// Most processes and threads of one task.
pub const TASK_PIDS_MAX: u64 = 4096;

const POLL: Duration = Duration::from_millis(5);

/// Controllers that hold a limit or a switch that this crate uses.
const NEEDED: [&str; 5] = ["memory", "cpu", "pids", "freezer", "devices"];

/// The control group hierarchies of this node.
#[derive(Clone, Debug)]
pub struct Cgroups {
    layout: Layout,
    unified_beside: bool,
}

#[derive(Clone, Debug)]
enum Layout {
    /// One mount for each set of controllers.
    V1(Vec<(PathBuf, Vec<String>)>),
    /// One mount for all of them.
    V2(PathBuf),
}

/// One group, in every hierarchy at once.
#[derive(Clone, Debug)]
pub struct Cgroup {
    layout: Layout,
    path: String,
}

/// Limits of a group; none means no limit of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Bytes of memory, page cache and tmpfs pages included.
    pub memory_bytes: Option<u64>,
    /// Cores.
    pub cpus: Option<f64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

impl Cgroups {
    /// Finds the hierarchies.
    ///
    /// # Errors
    /// When no usable hierarchy is mounted.
    pub fn detect() -> Result<Self, Fault> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").doing("reading mountinfo")?;
        Self::from_mountinfo(&mounts)
            .ok_or_else(|| Fault::service("no control group hierarchy is mounted"))
    }

    fn from_mountinfo(mounts: &str) -> Option<Self> {
        let mut v1 = Vec::new();
        let mut v2 = None;
        for line in mounts.lines() {
            let (left, right) = line.split_once(" - ")?;
            let point = PathBuf::from(left.split(' ').nth(4)?);
            let mut right = right.split(' ');
            match right.next()? {
                "cgroup2" => v2 = v2.or(Some(point)),
                "cgroup" => {
                    let options = right.nth(1).unwrap_or_default();
                    let controllers: Vec<String> = options
                        .split(',')
                        .filter(|option| !matches!(*option, "rw" | "ro" | "xattr"))
                        .map(str::to_owned)
                        .collect();
                    if !controllers.iter().any(|name| name.starts_with("name=")) {
                        v1.push((point, controllers));
                    }
                }
                _ => {}
            }
        }
        if v1.iter().any(|(_, names)| names.iter().any(|name| name == "memory")) {
            return Some(Self { layout: Layout::V1(v1), unified_beside: v2.is_some() });
        }
        v2.map(|mount| Self { layout: Layout::V2(mount), unified_beside: false })
    }

    /// `v1`, `v2` or `hybrid`.
    pub fn layout_name(&self) -> &'static str {
        match (&self.layout, self.unified_beside) {
            (Layout::V1(_), true) => "hybrid",
            (Layout::V1(_), false) => "v1",
            (Layout::V2(_), _) => "v2",
        }
    }

    /// Controllers that runs need and that are not here.
    pub fn missing(&self) -> Vec<&'static str> {
        let here: Vec<String> = match &self.layout {
            Layout::V1(mounts) => mounts.iter().flat_map(|(_, names)| names.clone()).collect(),
            Layout::V2(mount) => {
                let listed = fs::read_to_string(mount.join("cgroup.controllers"));
                let mut names: Vec<String> =
                    listed.unwrap_or_default().split_whitespace().map(str::to_owned).collect();
                names.extend(["freezer".to_owned(), "devices".to_owned()]);
                names
            }
        };
        NEEDED.into_iter().filter(|name| !here.iter().any(|other| other == name)).collect()
    }

    /// The group at `path`, relative to each hierarchy's root; it need not exist.
    pub fn group(&self, path: &str) -> Cgroup {
        Cgroup { layout: self.layout.clone(), path: path.trim_matches('/').to_owned() }
    }

    /// Names of the groups directly below `path` whose name starts with `prefix`, in any hierarchy.
    pub fn children(&self, path: &str, prefix: &str) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for dir in self.group(path).dirs() {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.starts_with(prefix) && entry.path().is_dir() {
                    names.insert(name);
                }
            }
        }
        names
    }
}

impl Cgroup {
    /// Path relative to each hierarchy's root, with a leading slash: what a bundle names.
    pub fn absolute_path(&self) -> String {
        format!("/{}", self.path)
    }

    /// The group below this one.
    pub fn child(&self, name: &str) -> Self {
        Self { layout: self.layout.clone(), path: format!("{}/{name}", self.path) }
    }

    fn dirs(&self) -> Vec<PathBuf> {
        match &self.layout {
            Layout::V1(mounts) => mounts.iter().map(|(mount, _)| mount.join(&self.path)).collect(),
            Layout::V2(mount) => vec![mount.join(&self.path)],
        }
    }

    /// The directory that holds `controller`'s files.
    fn dir(&self, controller: &str) -> Option<PathBuf> {
        match &self.layout {
            Layout::V1(mounts) => mounts
                .iter()
                .find(|(_, names)| names.iter().any(|name| name == controller))
                .map(|(mount, _)| mount.join(&self.path)),
            Layout::V2(mount) => Some(mount.join(&self.path)),
        }
    }

    /// Whether the group exists in any hierarchy.
    pub fn exists(&self) -> bool {
        self.dirs().iter().any(|dir| dir.exists())
    }

    /// Makes the group, and those above it, in every hierarchy. Idempotent.
    ///
    /// # Errors
    /// When a directory can't be made or a v2 controller can't be handed down.
    pub fn create(&self) -> Result<(), Fault> {
        let mut so_far = PathBuf::new();
        for part in Path::new(&self.path) {
            so_far.push(part);
            match &self.layout {
                Layout::V1(mounts) => {
                    for (mount, names) in mounts {
                        make_dir(&mount.join(&so_far))?;
                        if names.iter().any(|name| name == "cpuset") {
                            inherit_cpuset(mount, &so_far)?;
                        }
                    }
                }
                Layout::V2(mount) => {
                    let parent = mount.join(&so_far);
                    let parent = parent.parent().unwrap_or(mount);
                    // The kernel refuses a controller that it lacks; doctor names those.
                    for controller in ["+memory", "+cpu", "+pids"] {
                        let _ = fs::write(parent.join("cgroup.subtree_control"), controller);
                    }
                    make_dir(&mount.join(&so_far))?;
                }
            }
        }
        Ok(())
    }

    /// Sets limits. A limit that is none stays as it is.
    ///
    /// # Errors
    /// When the kernel refuses one.
    pub fn limit(&self, limits: Limits) -> Result<(), Fault> {
        if let Some(bytes) = limits.memory_bytes {
            self.limit_memory(bytes)?;
        }
        if let Some(cpus) = limits.cpus {
            let period = 100_000_u64;
            let quota = ((cpus * 100_000.0).round() as u64).max(1000);
            match self.layout {
                Layout::V1(_) => {
                    self.write("cpu", "cpu.cfs_period_us", &period.to_string())?;
                    self.write("cpu", "cpu.cfs_quota_us", &quota.to_string())?;
                }
                Layout::V2(_) => self.write("cpu", "cpu.max", &format!("{quota} {period}"))?,
            }
        }
        if let Some(pids) = limits.pids {
            self.write("pids", "pids.max", &pids.to_string())?;
        }
        Ok(())
    }

    fn limit_memory(&self, bytes: u64) -> Result<(), Fault> {
        match self.layout {
            Layout::V1(_) => {
                self.write("memory", "memory.limit_in_bytes", &bytes.to_string())?;
                // Memory plus swap equal to memory means no swap; absent without swap accounting.
                let swap = self.write("memory", "memory.memsw.limit_in_bytes", &bytes.to_string());
                if swap.is_err() {
                    self.write("memory", "memory.swappiness", "0").ok();
                }
            }
            Layout::V2(_) => {
                self.write("memory", "memory.max", &bytes.to_string())?;
                self.write("memory", "memory.swap.max", "0").ok();
            }
        }
        Ok(())
    }

    /// Makes the kernel end all of the group when memory ends one of it. v1 has no such switch: the
    /// supervisor watches the count of kills there.
    pub fn end_together(&self) {
        if matches!(self.layout, Layout::V2(_)) {
            self.write("memory", "memory.oom.group", "1").ok();
        }
    }

    /// Moves a process, with all its threads, into the group.
    ///
    /// # Errors
    /// When a hierarchy refuses it.
    pub fn join(&self, pid: u32) -> Result<(), Fault> {
        for dir in self.dirs() {
            let file = dir.join("cgroup.procs");
            fs::write(&file, pid.to_string()).doing(format_args!("joining {}", file.display()))?;
        }
        Ok(())
    }

    fn write(&self, controller: &str, file: &str, value: &str) -> Result<(), Fault> {
        let Some(dir) = self.dir(controller) else {
            return Err(Fault::service(format!("no {controller} controller on this node")));
        };
        let path = dir.join(file);
        fs::write(&path, value).doing(format_args!("writing {}", path.display()))
    }

    fn read(&self, controller: &str, file: &str) -> Option<String> {
        fs::read_to_string(self.dir(controller)?.join(file)).ok()
    }

    /// Every process of the group and of those below it, in any hierarchy.
    pub fn pids(&self) -> BTreeSet<i32> {
        let mut pids = BTreeSet::new();
        for dir in self.dirs() {
            collect_pids(&dir, &mut pids);
        }
        pids
    }

    fn freeze(&self, frozen: bool) {
        let (file, state) = match (&self.layout, frozen) {
            (Layout::V1(_), true) => ("freezer.state", "FROZEN"),
            (Layout::V1(_), false) => ("freezer.state", "THAWED"),
            (Layout::V2(_), true) => ("cgroup.freeze", "1"),
            (Layout::V2(_), false) => ("cgroup.freeze", "0"),
        };
        let Some(dir) = self.dir("freezer") else { return };
        // A failure leaves processes running; the kill loop then takes more rounds.
        fs::write(dir.join(file), state).ok();
        if !frozen {
            // Someone who was killed between freezing and thawing may have left one below frozen.
            write_below(&dir, file, state);
        }
    }

    fn is_frozen(&self) -> bool {
        match self.layout {
            Layout::V1(_) => self
                .read("freezer", "freezer.state")
                .is_none_or(|state| state.trim_end() == "FROZEN"),
            Layout::V2(_) => self
                .read("freezer", "cgroup.events")
                .is_none_or(|events| events.lines().any(|line| line == "frozen 1")),
        }
    }

    /// Ends every process of the group: freeze, SIGKILL, thaw, wait until it is empty. Blocks.
    ///
    /// # Errors
    /// When a process is still there after twenty seconds.
    pub fn kill(&self, clock: &dyn Clock) -> Result<(), Fault> {
        if self.pids().is_empty() {
            return Ok(());
        }
        self.freeze(true);
        let begun = clock.monotonic();
        while !self.is_frozen() && clock.monotonic() - begun < FREEZE_WAIT {
            thread::sleep(POLL);
        }
        self.signal_all();
        // v1 keeps a frozen process for ever, even one that was killed.
        self.freeze(false);
        let begun = clock.monotonic();
        while !self.pids().is_empty() {
            if clock.monotonic() - begun > EMPTY_WAIT {
                let left = self.pids();
                return Err(Fault::service(format!("processes {left:?} do not end")));
            }
            thread::sleep(POLL);
            self.signal_all();
        }
        Ok(())
    }

    fn signal_all(&self) {
        if let Layout::V2(mount) = &self.layout
            && fs::write(mount.join(&self.path).join("cgroup.kill"), "1").is_ok()
        {
            return;
        }
        for pid in self.pids() {
            // ESRCH: it ended by itself in the meantime.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    /// Removes the group and those below it.
    ///
    /// # Errors
    /// When one still holds a process.
    pub fn remove(&self) -> Result<(), Fault> {
        for dir in self.dirs() {
            remove_tree(&dir).doing(format_args!("removing {}", dir.display()))?;
        }
        Ok(())
    }
}

fn make_dir(dir: &Path) -> Result<(), Fault> {
    match fs::create_dir(dir) {
        Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => {
            Err(cause).doing(format_args!("making {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// A new v1 cpuset is empty and takes no process until it names cores and memory nodes.
fn inherit_cpuset(mount: &Path, path: &Path) -> Result<(), Fault> {
    let own = mount.join(path);
    let parent = own.parent().unwrap_or(mount).to_owned();
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let mine = fs::read_to_string(own.join(file)).unwrap_or_default();
        if mine.trim().is_empty() {
            let theirs = fs::read_to_string(parent.join(file)).doing("reading a cpuset")?;
            fs::write(own.join(file), theirs.trim()).doing("writing a cpuset")?;
        }
    }
    Ok(())
}

/// Writes to `file` of every group below `dir`.
fn write_below(dir: &Path, file: &str, state: &str) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            fs::write(entry.path().join(file), state).ok();
            write_below(&entry.path(), file, state);
        }
    }
}

fn collect_pids(dir: &Path, pids: &mut BTreeSet<i32>) {
    if let Ok(listed) = fs::read_to_string(dir.join("cgroup.procs")) {
        pids.extend(listed.lines().filter_map(|line| line.parse::<i32>().ok()));
    }
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_pids(&entry.path(), pids);
        }
    }
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(cause),
    };
    for entry in entries.flatten() {
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    // A process that has just ended may hold its group for a moment.
    for _ in 0..200 {
        match fs::remove_dir(dir) {
            Err(cause) if cause.raw_os_error() == Some(libc::EBUSY) => thread::sleep(POLL),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => return other,
        }
    }
    fs::remove_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 20 0:26 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
31 20 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
32 20 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
33 20 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";

    #[test]
    fn names_the_layout() {
        let found = Cgroups::from_mountinfo(HYBRID).expect("a layout");
        assert_eq!(found.layout_name(), "hybrid");
        assert_eq!(found.missing(), ["pids", "freezer", "devices"]);
        let group = found.group("/a/b");
        assert_eq!(group.dir("cpuacct"), Some("/sys/fs/cgroup/cpu,cpuacct/a/b".into()));
        assert_eq!(group.dirs().len(), 2);
        let v2 = "33 20 0:29 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw";
        assert_eq!(Cgroups::from_mountinfo(v2).map(|found| found.layout_name()), Some("v2"));
        assert!(Cgroups::from_mountinfo("").is_none());
    }
}
