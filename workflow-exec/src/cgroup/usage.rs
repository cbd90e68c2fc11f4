//! What a control group has used.

use super::{Cgroup, Layout};

impl Cgroup {
    /// Processes that the kernel ended for memory, in this group and those below it.
    pub fn oom_kills(&self) -> u64 {
        let file = match self.layout {
            Layout::V1(_) => "memory.oom_control",
            Layout::V2(_) => "memory.events",
        };
        self.keyed("memory", file, "oom_kill").unwrap_or(0)
    }

    /// Most bytes of memory that were in use.
    pub fn memory_peak_bytes(&self) -> Option<u64> {
        let file = match self.layout {
            Layout::V1(_) => "memory.max_usage_in_bytes",
            Layout::V2(_) => "memory.peak",
        };
        self.read("memory", file)?.trim().parse().ok()
    }

    /// Bytes of memory in use.
    pub fn memory_bytes(&self) -> Option<u64> {
        let file = match self.layout {
            Layout::V1(_) => "memory.usage_in_bytes",
            Layout::V2(_) => "memory.current",
        };
        self.read("memory", file)?.trim().parse().ok()
    }

    /// Bytes of memory that belong to no file: what a program asked for itself.
    pub fn anonymous_bytes(&self) -> Option<u64> {
        match self.layout {
            Layout::V1(_) => self.keyed("memory", "memory.stat", "total_rss"),
            Layout::V2(_) => self.keyed("memory", "memory.stat", "anon"),
        }
    }

    /// Seconds of CPU used.
    pub fn cpu_seconds(&self) -> Option<f64> {
        match self.layout {
            Layout::V1(_) => {
                let nanos: u64 = self.read("cpuacct", "cpuacct.usage")?.trim().parse().ok()?;
                Some(nanos as f64 / 1e9)
            }
            Layout::V2(_) => {
                self.keyed("cpu", "cpu.stat", "usage_usec").map(|micros| micros as f64 / 1e6)
            }
        }
    }

    /// Processes and threads.
    pub fn pids_now(&self) -> Option<u64> {
        self.read("pids", "pids.current")?.trim().parse().ok()
    }

    fn keyed(&self, controller: &str, file: &str, key: &str) -> Option<u64> {
        let text = self.read(controller, file)?;
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
        line.trim().parse().ok()
    }
}
