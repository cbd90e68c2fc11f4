//! Decodes records with noodles, where that can be done without an external reference.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use md5::{Digest, Md5};
use noodles::{
    cram, fasta,
    sam::{self, alignment::Record as _},
};
use readvault_inspect_protocol::{EtagFamily, HeaderFacts, SequenceFact};

use super::{container::Container, slice::Slices, text};
use crate::etag::EtagHasher;

/// Most records of a slice that is decoded: one record takes half a kilobyte.
const SLICE_RECORDS_MAX: u64 = 1_000_000;

/// Reference, first base and span, of each slice of several references, by its number.
pub(super) type Spans = HashMap<usize, Vec<(Option<usize>, usize, usize)>>;

/// Hashes records as long as all could be decoded, and watches their order.
pub(super) struct Decoder {
    header: Option<Arc<sam::Header>>,
    etag: Option<EtagHasher>,
    last: Option<(usize, usize)>,
    placed_count: u64,
    sorted: bool,
    note: Option<String>,
    text: Vec<u8>,
}

/// What one container gave.
#[derive(Default)]
struct Decoded {
    spans: Spans,
    base_count: u64,
    /// Whether bases needed a reference that is not here.
    lacks_reference: bool,
    /// Whether every slice was decoded.
    whole: bool,
}

impl Decoder {
    pub(super) fn new(header_text: &[u8], family: EtagFamily) -> Self {
        let text = std::str::from_utf8(header_text).unwrap_or_default();
        let header = text.parse().ok().map(Arc::new);
        let note = header.is_none().then(|| {
            "no semantic ETag: the header could be checked, but not be used to decode".to_owned()
        });
        Self {
            etag: header.is_some().then(|| EtagHasher::new(family)),
            header,
            last: None,
            placed_count: 0,
            sorted: true,
            note,
            text: Vec::new(),
        }
    }

    /// Decodes a container.
    ///
    /// # Errors
    /// An embedded reference whose MD5 is not the slice's, or records that contradict the
    /// container's counts. A decoder that fails is no error: it ends the ETag with a note.
    pub(super) fn container(
        &mut self,
        container: &Container,
        slices: &Slices,
        facts: &HeaderFacts,
    ) -> Result<Spans, String> {
        for slice in &slices.heads {
            self.see_order(slice.reference_id, slice.start);
        }
        let missing = slices.heads.iter().find(|slice| {
            slices.reference_required && slice.reference_id >= 0 && slice.reference_md5.is_some()
        });
        if let Some(slice) = missing {
            let sequence = usize::try_from(slice.reference_id).ok();
            let sequence = sequence.and_then(|id| facts.sequences.get(id));
            self.give_up(missing_note(sequence));
        }
        let several = slices.heads.iter().any(|slice| slice.reference_id == -2);
        let Some(header) = self.header.clone().filter(|_| self.etag.is_some() || several) else {
            return Ok(Spans::new());
        };
        if slices.heads.iter().any(|slice| slice.record_count > SLICE_RECORDS_MAX) {
            self.give_up("no semantic ETag: a slice has too many records to decode".into());
            return Ok(Spans::new());
        }
        let decoded = catch_unwind(AssertUnwindSafe(|| self.decode(&header, container, slices)));
        let decoded = match decoded {
            Ok(Ok(decoded)) => decoded?,
            Ok(Err(error)) => {
                self.give_up(format!("no semantic ETag: records could not be decoded ({error})"));
                return Ok(Spans::new());
            }
            Err(_) => {
                self.give_up("no semantic ETag: the decoder failed on these records".into());
                return Ok(Spans::new());
            }
        };
        if decoded.lacks_reference {
            self.give_up(missing_note(facts.sequences.first()));
        }
        if decoded.whole && decoded.base_count != container.head.base_count {
            let (claimed, found) = (container.head.base_count, decoded.base_count);
            return Err(format!("it claims {claimed} bases, its records have {found}"));
        }
        Ok(decoded.spans)
    }

    fn decode(
        &mut self,
        header: &sam::Header,
        container: &Container,
        slices: &Slices,
    ) -> io::Result<Result<Decoded, String>> {
        let mut reader = cram::io::Reader::new(&container.bytes[..]);
        let mut noodled = cram::io::reader::Container::default();
        reader.read_container(&mut noodled)?;
        let compression = noodled.compression_header()?;
        let mut decoded = Decoded { whole: true, ..Decoded::default() };
        for (number, (slice, head)) in noodled.slices().zip(&slices.heads).enumerate() {
            if self.etag.is_none() && head.reference_id != -2 {
                decoded.whole = false;
                continue;
            }
            let slice = slice?;
            let (core, external) = slice.decode_blocks()?;
            if let (Some(id), Some(md5)) = (head.embedded_reference, head.reference_md5) {
                let bases = external.iter().find(|(known, _)| *known == id);
                if bases.is_none_or(|(_, bases)| md5_of(bases) != md5) {
                    let number = number + 1;
                    let what = format!("slice {number}: the embedded reference has another MD5");
                    return Ok(Err(what));
                }
            }
            // Records that need a reference get one without bases: only their positions are read.
            let repository = fasta::Repository::new(NoBases);
            let records = slice.records(repository, header, &compression, &core, &external)?;
            let mut spans = BTreeMap::new();
            for record in &records {
                self.record(header, record, slices.reference_required, &mut decoded)?;
                widen(&mut spans, record);
            }
            if head.reference_id == -2 {
                let spans = spans.into_iter().map(|(id, (start, end))| {
                    (id, start, if start == 0 { 0 } else { end - start + 1 })
                });
                decoded.spans.insert(number, spans.collect());
            }
        }
        Ok(Ok(decoded))
    }

    fn record(
        &mut self,
        header: &sam::Header,
        record: &cram::Record<'_>,
        reference_required: bool,
        decoded: &mut Decoded,
    ) -> io::Result<()> {
        let reference_id = record.reference_sequence_id(header).transpose()?;
        let start = record.alignment_start().transpose()?;
        if let (Some(id), Some(start)) = (reference_id, start) {
            let id = i32::try_from(id).unwrap_or(i32::MAX);
            self.see_order(id, i32::try_from(start.get()).unwrap_or(i32::MAX));
        }
        decoded.lacks_reference |=
            reference_required && reference_id.is_some() && !record.flags()?.is_unmapped();
        let Some(etag) = self.etag.as_mut().filter(|_| !decoded.lacks_reference) else {
            decoded.whole = false;
            return Ok(());
        };
        self.text.clear();
        decoded.base_count += text::write(header, record, &mut self.text)?;
        etag.update(&self.text);
        Ok(())
    }

    /// Sees a slice's or a record's first position.
    fn see_order(&mut self, reference_id: i32, start: i32) {
        let (Ok(id), Ok(start)) = (usize::try_from(reference_id), usize::try_from(start)) else {
            return;
        };
        self.sorted &= self.last.is_none_or(|last| last <= (id, start));
        self.last = Some((id, start));
        self.placed_count += 1;
    }

    fn give_up(&mut self, note: String) {
        if self.etag.take().is_some() {
            self.note = Some(note);
        }
    }

    /// The ETag, and whether records were seen in coordinate order.
    pub(super) fn finish(self, notes: &mut Vec<String>) -> (Option<String>, Order) {
        notes.extend(self.note);
        let order = match (self.placed_count, self.sorted) {
            (0, _) => Order::Unplaced,
            (_, true) => Order::Coordinate,
            (_, false) => Order::Other,
        };
        (self.etag.map(EtagHasher::finish), order)
    }
}

/// Order of the placed records.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Order {
    /// No record is placed.
    Unplaced,
    /// By coordinate.
    Coordinate,
    /// Not by coordinate.
    Other,
}

/// Reference bases that are not here.
struct NoBases;

impl fasta::repository::Adapter for NoBases {
    fn get(&mut self, name: &[u8]) -> Option<io::Result<fasta::Record>> {
        let definition = fasta::record::Definition::new(name, None);
        Some(Ok(fasta::Record::new(definition, fasta::record::Sequence::default())))
    }
}

fn missing_note(sequence: Option<&SequenceFact>) -> String {
    let name = sequence.map_or("", |fact| fact.name.as_str());
    match sequence.and_then(|fact| fact.md5.as_deref()) {
        Some(md5) => format!("no semantic ETag: the reference of {name} (M5 {md5}) is missing"),
        None => format!("no semantic ETag: the reference of {name} (no M5 given) is missing"),
    }
}

/// Widens the span of the record's reference.
fn widen(spans: &mut BTreeMap<Option<usize>, (usize, usize)>, record: &cram::Record<'_>) {
    let header = sam::Header::default();
    let id = record.reference_sequence_id(&header).and_then(Result::ok);
    let start = record.alignment_start().and_then(Result::ok).map_or(0, usize::from);
    let Some(id) = id.filter(|_| start > 0) else {
        spans.entry(None).or_insert((0, 0));
        return;
    };
    let end = record.alignment_end().and_then(Result::ok).map_or(start, usize::from).max(start);
    let span = spans.entry(Some(id)).or_insert((start, end));
    *span = (span.0.min(start), span.1.max(end));
}

/// MD5 as SAM takes it of a reference: upper case, printable characters only.
fn md5_of(bases: &[u8]) -> [u8; 16] {
    let bases: Vec<u8> =
        bases.iter().filter(|base| base.is_ascii_graphic()).map(u8::to_ascii_uppercase).collect();
    Md5::digest(&bases).into()
}
