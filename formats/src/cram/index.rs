//! Builds the CRAI.

use noodles::{core::Position, cram::crai};

use super::{container::Container, decode::Spans, slice::SliceHead};

/// Collects one entry a slice, or one a reference in slices of several.
#[derive(Default)]
pub(super) struct IndexBuilder {
    records: Vec<crai::Record>,
    gap: bool,
}

impl IndexBuilder {
    /// Adds the slices of a container. `spans` has an entry for each slice of several references
    /// that could be decoded.
    pub(super) fn add(&mut self, container: &Container, slices: &[SliceHead], spans: Spans) {
        for (number, slice) in slices.iter().enumerate() {
            let entries = match slice.reference_id {
                -2 => match spans.get(&number) {
                    Some(spans) => spans.clone(),
                    None => {
                        self.gap = true;
                        continue;
                    }
                },
                -1 => vec![(None, 0, 0)],
                id => {
                    let id = usize::try_from(id).ok();
                    let start = usize::try_from(slice.start).unwrap_or(0);
                    let span = usize::try_from(slice.span).unwrap_or(0);
                    vec![(id, start, span)]
                }
            };
            for (id, start, span) in entries {
                self.records.push(crai::Record::new(
                    id,
                    Position::new(start),
                    span,
                    container.position,
                    slice.landmark as u64,
                    slice.length as u64,
                ));
            }
        }
    }

    /// The gzipped CRAI; `None`, with a note, where a slice could not be placed.
    pub(super) fn finish(self, notes: &mut Vec<String>) -> Option<Vec<u8>> {
        if self.gap {
            notes.push("no index: a slice of several references could not be decoded".into());
            return None;
        }
        let mut writer = crai::io::Writer::new(Vec::new());
        let written = writer.write_index(&self.records).and_then(|()| writer.finish());
        written.inspect_err(|error| notes.push(format!("no index: {error}"))).ok()
    }
}
