//! The OCI bundle of a container: always the hardened one (docs/threat-model.md), whatever was asked for.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::seccomp;
use crate::{
    cgroup::Cgroup,
    fault::{Doing, Fault},
    lease::RANGE,
};

/// Most open files of a process in a container.
const FILES_MAX: u64 = 4096;

/// What differs between containers.
#[derive(Debug)]
pub struct Bundle<'a> {
    /// The prepared root file system, binds included.
    pub root: &'a Path,
    /// Program and arguments.
    pub argv: &'a [String],
    /// Variables; later ones win.
    pub env: &'a [(String, String)],
    /// Working directory.
    pub cwd: &'a str,
    /// First uid of the run's range, which is uid 0 inside.
    pub uid: u32,
    /// The control group that holds the limits already.
    pub cgroup: &'a Cgroup,
    /// Bytes of `/dev/shm`.
    pub shm_bytes: u64,
    /// Host name inside.
    pub hostname: &'a str,
}

impl Bundle<'_> {
    /// Writes `config.json` into `dir`.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write(&self, dir: &Path) -> Result<(), Fault> {
        let bytes = serde_json::to_vec(&self.config()).doing("writing a bundle")?;
        fs::write(dir.join("config.json"), bytes).doing("writing a bundle")
    }

    fn config(&self) -> Value {
        let namespaces = ["user", "pid", "mount", "network", "ipc", "uts", "cgroup"]
            .map(|kind| json!({ "type": kind }));
        json!({
            "ociVersion": "1.1.0",
            "hostname": self.hostname,
            "root": { "path": self.root, "readonly": true },
            "process": self.process(),
            "mounts": self.mounts(),
            "linux": {
                "uidMappings": [{ "containerID": 0, "hostID": self.uid, "size": RANGE }],
                "gidMappings": [{ "containerID": 0, "hostID": self.uid, "size": RANGE }],
                "cgroupsPath": self.cgroup.absolute_path(),
                "namespaces": namespaces,
                "rootfsPropagation": "private",
                "maskedPaths": MASKED,
                "readonlyPaths": READ_ONLY,
                "seccomp": seccomp::profile(),
            },
        })
    }

    fn process(&self) -> Value {
        let mut env: Vec<(&str, &str)> = Vec::new();
        for (name, value) in self.env {
            match env.iter_mut().find(|(other, _)| other == name) {
                Some(pair) => pair.1 = value,
                None => env.push((name, value)),
            }
        }
        let env: Vec<String> =
            env.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let limit = |kind: &str, value: u64| json!({ "type": kind, "soft": value, "hard": value });
        json!({
            "terminal": false,
            "user": { "uid": 0, "gid": 0, "umask": 0o077 },
            "args": self.argv,
            "env": env,
            "cwd": self.cwd,
            "noNewPrivileges": true,
            "oomScoreAdj": 500,
            "capabilities": {
                "bounding": [], "effective": [], "inheritable": [], "permitted": [], "ambient": [],
            },
            "rlimits": [
                limit("RLIMIT_CORE", 0),
                limit("RLIMIT_NOFILE", FILES_MAX),
                limit("RLIMIT_MEMLOCK", 64 << 10),
                limit("RLIMIT_MSGQUEUE", 0),
            ],
        })
    }

    fn mounts(&self) -> Value {
        let shm_size = format!("size={}", self.shm_bytes);
        json!([
            { "destination": "/proc", "type": "proc", "source": "proc",
              "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "noexec", "strictatime", "mode=755", "size=64k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
              "options": ["nosuid", "noexec", "nodev", "mode=1777", shm_size] },
        ])
    }
}

/// Paths that show the node's hardware, keys or memory.
const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
    "/sys/firmware",
];

/// Paths that may be read, not written.
const READ_ONLY: [&str; 4] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Cgroups;

    #[test]
    fn a_bundle_is_hardened_and_the_last_variable_wins() {
        let Ok(cgroups) = Cgroups::detect() else {
            println!("skipped: no control groups here");
            return;
        };
        let group = cgroups.group("readvault-test/run-x/tasks/t");
        let env = [("A".to_owned(), "1".to_owned()), ("A".to_owned(), "2".to_owned())];
        let argv = ["true".to_owned()];
        let bundle = Bundle {
            root: Path::new("/x"),
            argv: &argv,
            env: &env,
            cwd: "/",
            uid: 1_879_048_192,
            cgroup: &group,
            shm_bytes: 1 << 20,
            hostname: "task",
        };
        let dir = tempfile::tempdir().expect("a directory");
        bundle.write(dir.path()).expect("written");
        let spec = oci_spec::runtime::Spec::load(dir.path().join("config.json")).expect("a spec");
        let process = spec.process().clone().expect("a process");
        assert_eq!(process.no_new_privileges(), Some(true));
        assert_eq!(process.env().clone().expect("env"), ["A=2"]);
        let caps = process.capabilities().clone().expect("capabilities");
        assert!(caps.bounding().clone().is_some_and(|caps| caps.is_empty()));
        let linux = spec.linux().clone().expect("linux");
        assert_eq!(linux.namespaces().clone().expect("name spaces").len(), 7);
        assert!(linux.seccomp().is_some());
    }
}
