//! BAM and uBAM (SAM specification §4).
//!
//! One pass checks the header against its binary dictionary, every record's bounds and values,
//! the order of records, and builds the index. The semantic ETag is the hash of the records as
//! SAM lines, each with its newline.

mod aux;
mod cigar;
mod header;
mod index;
mod order;
mod record;
mod text;

use readvault_inspect_protocol::{Alignment, FileType, InspectRequest, SourceSummary, Summary};

use self::{header::Dictionary, index::IndexBuilder, order::OrderWatch, record::Record};
use crate::{
    etag::EtagHasher,
    fault::{Fault, Result},
    fields::Fields,
    gzip::Gunzip,
    inspect::check_reference,
};

/// SAM text is hashed in pieces of about this size.
const TEXT_BYTES: usize = 128 << 10;

/// The summary and the index, if one could be built.
pub(crate) type Checked = (Summary, Option<Vec<u8>>);

/// Checks a BAM to its end. `gunzip` stands before the magic.
pub(crate) fn check(
    mut gunzip: Gunzip,
    request: &InspectRequest,
    declared: Option<FileType>,
) -> Result<Checked> {
    if !gunzip.require_bgzf() {
        return Err(Fault::at_byte(0, "the BAM is packed in gzip, not in BGZF blocks"));
    }
    let mut fields = Fields::new(gunzip);
    let (facts, dictionary) = header::read(&mut fields, &request.limits)?;
    check_reference(&facts, request.reference.as_deref())?;
    let mut pass = Pass::new(&dictionary, request, declared);
    pass.run(&mut fields, request)?;
    let (container, digests) = fields.finish()?;
    let mut notes = dictionary.notes.clone();
    let seen = pass.finish(&facts, &mut notes);
    let source = SourceSummary {
        read_count: seen.read_count,
        base_count: seen.base_count,
        byte_count: digests.byte_count,
        container,
        semantic_etag: Some(seen.etag),
        sha256: digests.sha256,
        md5: digests.md5,
        crc64nvme: digests.crc64nvme,
    };
    let unaligned = seen.mapped_count == 0;
    let bare = unaligned && dictionary.names.is_empty();
    let summary = Summary {
        file_type: declared.unwrap_or(if bare { FileType::Ubam } else { FileType::Bam }),
        sources: vec![source],
        alignment: if unaligned { Alignment::Unaligned } else { Alignment::Aligned },
        sort_order: seen.sorted.then(|| "coordinate".to_owned()),
        header: Some(facts),
        reference: Vec::new(),
        index: seen.index.as_ref().map(|(kind, _)| *kind),
        notes,
    };
    Ok((summary, seen.index.map(|(_, bytes)| bytes)))
}

/// One walk over the records.
struct Pass<'a> {
    dictionary: &'a Dictionary,
    unmapped_only: bool,
    etag: EtagHasher,
    text: Vec<u8>,
    order: OrderWatch,
    index: IndexBuilder,
    read_count: u64,
    base_count: u64,
    mapped_count: u64,
}

/// What the walk saw.
struct Seen {
    read_count: u64,
    base_count: u64,
    mapped_count: u64,
    sorted: bool,
    etag: String,
    index: Option<index::Built>,
}

impl<'a> Pass<'a> {
    fn new(
        dictionary: &'a Dictionary,
        request: &InspectRequest,
        declared: Option<FileType>,
    ) -> Self {
        Self {
            dictionary,
            unmapped_only: declared == Some(FileType::Ubam),
            etag: EtagHasher::new(request.etag_family),
            text: Vec::with_capacity(2 * TEXT_BYTES),
            order: OrderWatch::default(),
            index: IndexBuilder::new(dictionary),
            read_count: 0,
            base_count: 0,
            mapped_count: 0,
        }
    }

    fn run(&mut self, fields: &mut Fields, request: &InspectRequest) -> Result<()> {
        let mut start = fields.virtual_offset();
        loop {
            let number = self.read_count + 1;
            let Some(length) = read_length(fields, number, request.limits.record_bytes_max)? else {
                return Ok(());
            };
            let bytes = fields.take(length)?;
            if bytes.len() < length {
                let got = bytes.len();
                let reason = format!("record {number} is cut: {got} of its {length} bytes");
                return Err(fields.fault(Some(number), reason));
            }
            let placed = match self.record(bytes) {
                Ok(placed) => placed,
                Err(what) => {
                    return Err(fields.fault(Some(number), format!("record {number}: {what}")));
                }
            };
            let end = fields.virtual_offset();
            self.index.add(placed, start, end);
            start = end;
        }
    }

    /// Checks one record and counts, hashes and places it.
    fn record(&mut self, bytes: &[u8]) -> std::result::Result<index::Placement, String> {
        let record = Record::parse(bytes, &self.dictionary.lengths)?;
        if self.unmapped_only && !record.is_unmapped() {
            return Err("it is mapped; a uBAM holds no mapped reads".into());
        }
        let alignment_end = text::write(&record, &self.dictionary.names, &mut self.text)?;
        if self.text.len() >= TEXT_BYTES {
            self.etag.update(&self.text);
            self.text.clear();
        }
        self.read_count += 1;
        self.base_count += record.base_count() as u64;
        self.mapped_count += u64::from(!record.is_unmapped());
        self.order.see(self.read_count, record.reference_id, record.position);
        if self.order.first_unsorted.is_some() {
            self.index.give_up();
        }
        Ok(index::Placement {
            reference_id: record.reference_id,
            position: record.position,
            end: alignment_end,
            is_mapped: !record.is_unmapped(),
        })
    }

    fn finish(
        mut self,
        facts: &readvault_inspect_protocol::HeaderFacts,
        notes: &mut Vec<String>,
    ) -> Seen {
        self.etag.update(&self.text);
        let claims_order = facts.sort_order.as_deref() == Some("coordinate");
        if let Some(number) = self.order.first_unsorted {
            if claims_order {
                notes.push(format!(
                    "no index: the header says SO:coordinate, record {number} is out of order"
                ));
            } else if self.mapped_count > 0 {
                notes.push(format!("no index: not sorted by coordinate (record {number})"));
            }
        }
        let sorted = self.order.first_unsorted.is_none() && self.order.placed_count > 0;
        let index = if sorted { self.index.finish(notes) } else { None };
        Seen {
            read_count: self.read_count,
            base_count: self.base_count,
            mapped_count: self.mapped_count,
            sorted,
            etag: self.etag.finish(),
            index,
        }
    }
}

/// The length of the next record; `None` at the end.
fn read_length(fields: &mut Fields, number: u64, max: usize) -> Result<Option<usize>> {
    let bytes = fields.take(4)?;
    let length = match *bytes {
        [] => return Ok(None),
        [a, b, c, d] => u32::from_le_bytes([a, b, c, d]) as usize,
        _ => {
            let reason = format!("record {number} is cut in its length");
            return Err(fields.fault(Some(number), reason));
        }
    };
    if !(record::FIXED_BYTES..=max).contains(&length) {
        let reason = format!(
            "record {number}: block_size is {length}, outside {} to {max}",
            record::FIXED_BYTES
        );
        return Err(fields.fault(Some(number), reason));
    }
    Ok(Some(length))
}
