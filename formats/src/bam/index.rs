//! Builds the BAI, or the CSI where a sequence is longer than a BAI can address.

use noodles::{
    bam::{bai, index::Indexer},
    bgzf::VirtualPosition,
    core::Position,
    csi::{self, binning_index::index::reference_sequence::bin::Chunk},
};
use readvault_inspect_protocol::IndexKind;

use super::header::Dictionary;

/// Kind and bytes of an index.
pub(super) type Built = (IndexKind, Vec<u8>);

/// Where a record lies.
pub(super) struct Placement {
    pub(super) reference_id: i32,
    /// 0-based start; −1 when there is none.
    pub(super) position: i32,
    /// 0-based end, exclusive.
    pub(super) end: i64,
    pub(super) is_mapped: bool,
}

/// Collects records in coordinate order.
pub(super) struct IndexBuilder {
    indexer: Option<Indexer>,
    reference_count: usize,
    fault: Option<String>,
}

impl IndexBuilder {
    pub(super) fn new(dictionary: &Dictionary) -> Self {
        let longest = dictionary.lengths.iter().max().map_or(1, |length| *length as usize);
        let longest = Position::new(longest).unwrap_or(Position::MIN);
        let indexer = Indexer::builder().set_max_position_hint(longest).build().ok();
        let fault = indexer.is_none().then(|| "a sequence is too long for any index".to_owned());
        Self { indexer, reference_count: dictionary.names.len(), fault }
    }

    /// Stops collecting and frees what was collected.
    pub(super) fn give_up(&mut self) {
        self.indexer = None;
    }

    /// Adds a record that stands at virtual offsets `start` to `end`.
    pub(super) fn add(&mut self, placement: Placement, start: u64, end: u64) {
        let Some(indexer) = &mut self.indexer else { return };
        let chunk = Chunk::new(VirtualPosition::from(start), VirtualPosition::from(end));
        if let Err(error) = indexer.add_record(context(&placement), chunk) {
            self.fault = Some(error.to_string());
            self.indexer = None;
        }
    }

    /// The index; `None`, with a note, where records do not fit one.
    pub(super) fn finish(self, notes: &mut Vec<String>) -> Option<Built> {
        let Some(indexer) = self.indexer else {
            notes.extend(self.fault.map(|what| format!("no index: {what}")));
            return None;
        };
        let built = match indexer.build(self.reference_count) {
            noodles::bam::index::Index::Bai(index) => {
                let mut writer = bai::io::Writer::new(Vec::new());
                writer.write_index(&index).map(|()| (IndexKind::Bai, writer.into_inner()))
            }
            noodles::bam::index::Index::Csi(index) => {
                let mut writer = csi::io::Writer::new(Vec::new());
                writer
                    .write_index(&index)
                    .and_then(|()| writer.into_inner().finish())
                    .map(|bytes| (IndexKind::Csi, bytes))
            }
        };
        built.inspect_err(|error| notes.push(format!("no index: {error}"))).ok()
    }
}

/// What the indexer wants: sequence, 1-based closed interval, mapped or not.
fn context(placement: &Placement) -> Option<(usize, Position, Position, bool)> {
    let id = usize::try_from(placement.reference_id).ok()?;
    let start = Position::new(usize::try_from(placement.position + 1).ok()?)?;
    let end = Position::new(usize::try_from(placement.end).ok()?)?;
    Some((id, start, end.max(start), placement.is_mapped))
}
