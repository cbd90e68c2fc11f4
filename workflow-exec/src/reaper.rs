//! Removes what is left of runs, and says what that is.
//!
//! Control groups decide what belongs to a run. Its mounts live in name spaces that end with their last
//! process, so killing the group unmounts them; that is then checked, not assumed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use readvault_ambient::Clock;
use uuid::Uuid;

use crate::{
    cgroup::{Cgroup, Cgroups},
    fault::{Doing, Fault},
    lease::Leases,
    supervisor::MOUNT_BASE,
};

/// Beginning of the name of every agent's group.
pub const PARENT_PREFIX: &str = "readvault-";

/// Beginning of the name of every run's group.
pub const RUN_PREFIX: &str = "run-";

/// How long the rest of a run may take to go.
const REAP_MAX: Duration = Duration::from_secs(15);

const REAP_PAUSE: Duration = Duration::from_millis(50);

/// The group of a run below its agent's.
pub fn run_group(cgroups: &Cgroups, parent: &str, run: Uuid) -> Cgroup {
    cgroups.group(&format!("{parent}/{RUN_PREFIX}{run}"))
}

/// Ends and removes a run, whatever is left of it, and checks that nothing is. Blocks.
///
/// # Errors
/// When something stays; the uid range must not be freed then.
pub fn reap(cgroups: &Cgroups, parent: &str, run: Uuid, clock: &dyn Clock) -> Result<(), Fault> {
    let group = run_group(cgroups, parent, run);
    let begun = clock.monotonic();
    loop {
        let gone = group.kill(clock).and_then(|()| group.remove());
        let gone = gone.and_then(|()| match mounts_of(Some(run)).first() {
            Some(first) => Err(Fault::service(format!("run {run}: {first} is still mounted"))),
            None => Ok(()),
        });
        // A name space ends a moment after its last process, and a supervisor may be at the same work.
        match gone {
            Err(_) if clock.monotonic() - begun < REAP_MAX => thread::sleep(REAP_PAUSE),
            gone => return gone,
        }
    }
}

/// Reaps every run below `parent` and those that hold a lease; frees the leases of what is gone.
///
/// # Errors
/// The first fault; the other runs were reaped all the same.
pub fn reap_all(
    cgroups: &Cgroups,
    parent: &str,
    leases: &mut Leases,
    clock: &dyn Clock,
) -> Result<Vec<Uuid>, Fault> {
    let mut runs: BTreeSet<Uuid> = leases.runs().into_iter().collect();
    let names = cgroups.children(parent, RUN_PREFIX);
    runs.extend(
        names.iter().filter_map(|name| name.strip_prefix(RUN_PREFIX)?.parse::<Uuid>().ok()),
    );
    let mut first = None;
    let mut reaped = Vec::new();
    for run in runs {
        let done = reap(cgroups, parent, run, clock).and_then(|()| leases.free(run));
        match done {
            Ok(()) => reaped.push(run),
            Err(fault) => first = first.or(Some(fault)),
        }
    }
    first.map_or(Ok(reaped), Err)
}

/// Something that is left of a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leftover {
    /// A process in a run's group.
    Process {
        /// Its id.
        pid: i32,
        /// The group.
        group: String,
    },
    /// A mount in a process's name space.
    Mount {
        /// A process that sees it.
        pid: i32,
        /// Where, and what.
        mount: String,
    },
    /// A control group.
    Cgroup(String),
    /// A file or directory.
    File(PathBuf),
    /// A uid range.
    Lease(Uuid),
}

impl fmt::Display for Leftover {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { pid, group } => write!(formatter, "process {pid} in {group}"),
            Self::Mount { pid, mount } => write!(formatter, "mount {mount} (process {pid})"),
            Self::Cgroup(path) => write!(formatter, "cgroup {path}"),
            Self::File(path) => write!(formatter, "file {}", path.display()),
            Self::Lease(run) => write!(formatter, "uid range of run {run}"),
        }
    }
}

/// Everything on this node that belongs to `run`, or to any run: processes, mounts in any process's name
/// space, control groups, files, and, with an agent's `state`, leases.
///
/// # Errors
/// When the node can't be looked at.
pub fn leftovers(run: Option<Uuid>, state: Option<&Path>) -> Result<Vec<Leftover>, Fault> {
    let mut found = BTreeSet::new();
    let cgroups = Cgroups::detect()?;
    let prefix = run.map_or_else(|| RUN_PREFIX.to_owned(), |run| format!("{RUN_PREFIX}{run}"));
    for parent in cgroups.children("", PARENT_PREFIX) {
        for name in cgroups.children(&parent, &prefix) {
            let path = format!("{parent}/{name}");
            for pid in cgroups.group(&path).pids() {
                found.insert(Leftover::Process { pid, group: path.clone() });
            }
            found.insert(Leftover::Cgroup(path));
        }
    }
    for mount in mounts_of(run) {
        found.insert(mount);
    }
    if run.is_none() {
        for entry in fs::read_dir(MOUNT_BASE).into_iter().flatten().flatten() {
            found.insert(Leftover::File(entry.path()));
        }
    }
    if let Some(state) = state {
        let leases = Leases::open(&leases_path(state))?;
        let mine = leases.runs().into_iter().filter(|lease| run.is_none_or(|run| run == *lease));
        found.extend(mine.map(Leftover::Lease));
    }
    Ok(found.into_iter().collect())
}

/// Where an agent keeps its leases.
pub fn leases_path(state: &Path) -> PathBuf {
    state.join("leases.json")
}

/// Mounts of `run`, or of any run, in any process's name space.
fn mounts_of(run: Option<Uuid>) -> Vec<Leftover> {
    let source = run.map(|run| format!("readvault-{run}"));
    let mut seen: BTreeMap<String, i32> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // A process that ends meanwhile has no mounts.
        let listed = fs::read_to_string(entry.path().join("mountinfo")).unwrap_or_default();
        for line in listed.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let name = right.split(' ').nth(1).unwrap_or_default();
            let point = left.split(' ').nth(4).unwrap_or_default();
            let of_run = match &source {
                Some(source) => name == source,
                None => is_run_source(name) || name == "readvault-control",
            };
            if of_run {
                seen.entry(format!("{point} of {name}")).or_insert(pid);
            }
        }
    }
    seen.into_iter().map(|(mount, pid)| Leftover::Mount { pid, mount }).collect()
}

fn is_run_source(name: &str) -> bool {
    name.strip_prefix("readvault-").is_some_and(|rest| rest.parse::<Uuid>().is_ok())
}

/// The stable name of the agent whose state is in `state`; made at first use.
///
/// # Errors
/// When it can't be read or written.
pub fn instance(state: &Path, entropy: &dyn readvault_ambient::Entropy) -> Result<String, Fault> {
    let path = state.join("instance");
    if let Ok(name) = fs::read_to_string(&path) {
        let name = name.trim().to_owned();
        if name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(name);
        }
    }
    let name = hex::encode(readvault_ambient::random::<8>(entropy));
    fs::write(&path, &name).doing("naming this agent")?;
    Ok(name)
}
