//! What this node can do for runs, what it lacks and what to do about it.

use std::fs;

use readvault_exec_protocol::agent::Capabilities;

use crate::cgroup::Cgroups;

/// Memory that is never given to runs.
const RESERVED_BYTES: u64 = 2 << 30;

/// Looks at the node.
pub fn capabilities() -> Capabilities {
    let mut missing = Vec::new();
    if !nix::unistd::geteuid().is_root() {
        missing.push("not root: start the agent as root, storage works without it".to_owned());
    }
    let cgroups = match Cgroups::detect() {
        Ok(cgroups) => {
            for controller in cgroups.missing() {
                missing.push(format!(
                    "the {controller} controller is not mounted: enable it on the kernel command line"
                ));
            }
            cgroups.layout_name().to_owned()
        }
        Err(fault) => {
            missing.push(format!("{}: mount cgroup2 at /sys/fs/cgroup", fault.message));
            "none".to_owned()
        }
    };
    let filesystems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    for (name, remedy) in [("overlay", "load the overlay module"), ("tmpfs", "use another kernel")]
    {
        if !filesystems.lines().any(|line| line.trim_end().ends_with(name)) {
            missing.push(format!("the kernel has no {name}: {remedy}"));
        }
    }
    let user_namespaces = number("/proc/sys/user/max_user_namespaces");
    if user_namespaces.unwrap_or(0) == 0 {
        missing.push("user name spaces are off: raise user.max_user_namespaces".to_owned());
    }
    let seccomp = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    if !seccomp.contains("errno") {
        missing.push("the kernel has no seccomp filters: use another kernel".to_owned());
    }
    Capabilities {
        cpus: std::thread::available_parallelism()
            .map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
        memory_bytes: memory_bytes().saturating_sub(RESERVED_BYTES),
        cgroups,
        missing,
    }
}

/// Warnings that do not keep runs from starting.
pub fn advice() -> Vec<String> {
    let mut advice = Vec::new();
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    if swaps.lines().count() > 1 {
        advice
            .push("swap is on: memory of tools may reach a disk; turn it off or encrypt it".into());
    }
    let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    if !command_line.contains("init_on_free=1") {
        advice.push(
            "freed memory is cleared when it is used again, not when it is freed; \
             boot with init_on_free=1 to clear it at once"
                .into(),
        );
    }
    if fs::metadata("/dev/fuse").is_err() {
        advice.push("no /dev/fuse: inputs larger than a quarter of a run's memory fail".into());
    }
    advice
}

fn memory_bytes() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes =
        line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
