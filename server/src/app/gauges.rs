//! What the limits of this server hold at the moment, and the metrics in Prometheus' text.

use std::sync::Arc;

use metrics::gauge;
use metrics_exporter_prometheus::PrometheusHandle;
use readvault_store::{chunk_store::LocalChunkStore, space::Space, usage::Usage, vault::Vault};
use readvault_store_rocks::RocksCatalog;

use crate::front_door::{Connections, admission::Admission};

/// Everything that is looked at when somebody asks for the metrics.
pub(super) struct Gauges {
    pub(super) metrics: PrometheusHandle,
    pub(super) admission: Admission,
    pub(super) connections: Connections,
    pub(super) vault: Vault,
    pub(super) catalog: Option<Arc<RocksCatalog>>,
    pub(super) chunks: Option<Arc<LocalChunkStore>>,
    pub(super) space: Arc<Space>,
}

impl Gauges {
    /// The metrics as they stand now.
    pub(super) fn render(&self) -> String {
        for usage in self.usage() {
            gauge!("readvault_limit", "name" => usage.name).set(float(usage.limit));
            gauge!("readvault_limit_used", "name" => usage.name).set(float(usage.used));
        }
        for (part, bytes) in self.catalog.iter().flat_map(|catalog| catalog.memory()) {
            gauge!("readvault_catalog_memory_bytes", "part" => part).set(float(bytes));
        }
        if let Some(free) = self.space.free_bytes() {
            gauge!("readvault_disk_free_bytes").set(float(free));
        }
        gauge!("readvault_disk_full").set(f64::from(u8::from(self.space.is_full())));
        for (part, bytes) in process_memory() {
            gauge!("readvault_process_memory_bytes", "part" => part).set(float(bytes));
        }
        self.metrics.render()
    }

    fn usage(&self) -> Vec<Usage> {
        let mut usage = vec![self.connections.usage()];
        usage.extend(self.admission.usage());
        usage.extend(self.vault.usage());
        usage.extend(self.chunks.iter().map(|chunks| chunks.usage()));
        usage
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
fn float(value: u64) -> f64 {
    value as f64
}

/// Bytes that this process holds now (`resident`) and held at most (`peak`), as the kernel counts.
fn process_memory() -> Vec<(&'static str, u64)> {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    };
    let parts = [("resident", "VmRSS:"), ("peak", "VmHWM:")];
    parts.iter().filter_map(|(part, name)| Some((*part, kib(name)? << 10))).collect()
}
