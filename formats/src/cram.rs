//! CRAM 3.0 and 3.1 (CRAM specification 3.1).
//!
//! The walk over containers and blocks is our own and checks every CRC32, count and landmark, and
//! that the end-of-file container is there; counts come from container headers. Records are
//! decoded by noodles where no external reference is needed, for the semantic ETag, for the
//! order, and for the index of slices that span several references. A decoder that fails or
//! panics costs the ETag and leaves a note: the structure has been checked without it.

mod container;
mod cursor;
mod decode;
mod index;
mod slice;
mod text;

use readvault_inspect_protocol::{
    Alignment, Container as Packing, FileType, HeaderFacts, IndexKind, InspectRequest, Place,
    SourceSummary, Summary,
};

use self::{
    container::{BlockHead, Container, ContentType},
    decode::{Decoder, Order},
    index::IndexBuilder,
};
use crate::{
    fault::{Fault, Result},
    inspect::check_reference,
    sam_header,
    source::Source,
};

/// Magic, version and file id.
const DEFINITION_BYTES: usize = 26;

/// Checks a CRAM to its end; the summary and its CRAI.
pub(crate) fn check(
    mut source: Source,
    request: &InspectRequest,
) -> Result<(Summary, Option<Vec<u8>>)> {
    let packing = read_definition(&mut source)?;
    let mut walk = Walk { source, number: 0, bytes_max: request.limits.container_bytes_max };
    let text = walk.read_header()?;
    let facts = sam_header::parse(&text)?;
    check_reference(&facts, request.reference.as_deref())?;
    let mut pass = Pass::new(&text, &facts, request);
    while let Some(container) = walk.next()? {
        pass.container(&container)?;
    }
    let digests = walk.source.finish()?;
    let mut notes = Vec::new();
    let (semantic_etag, order) = pass.decoder.finish(&mut notes);
    let index = match order {
        Order::Other => {
            notes.push("no index: not sorted by coordinate".into());
            None
        }
        Order::Coordinate | Order::Unplaced => pass.index.finish(&mut notes),
    };
    let source = SourceSummary {
        read_count: pass.read_count,
        base_count: pass.base_count,
        byte_count: digests.byte_count,
        container: packing,
        semantic_etag,
        sha256: digests.sha256,
        md5: digests.md5,
        crc64nvme: digests.crc64nvme,
    };
    let aligned = pass.placed_slices > 0;
    let summary = Summary {
        file_type: FileType::Cram,
        sources: vec![source],
        alignment: if aligned { Alignment::Aligned } else { Alignment::Unaligned },
        sort_order: (order == Order::Coordinate).then(|| "coordinate".to_owned()),
        header: Some(facts),
        reference: Vec::new(),
        index: index.is_some().then_some(IndexKind::Crai),
        notes,
    };
    Ok((summary, index))
}

/// Reads the file definition (§6).
fn read_definition(source: &mut Source) -> Result<Packing> {
    let bytes = source.require(DEFINITION_BYTES)?;
    let Some(definition) = bytes.first_chunk::<DEFINITION_BYTES>() else {
        return Err(Fault::at_byte(0, "the CRAM is cut in its file definition"));
    };
    let packing = match (definition[4], definition[5]) {
        (3, 0) => Packing::Cram30,
        (3, 1) => Packing::Cram31,
        (major, minor) => {
            let reason = format!(
                "CRAM {major}.{minor} is not taken, 3.0 and 3.1 are; convert it with \
                 samtools view -C --output-fmt-option version=3.0"
            );
            return Err(Fault::at_byte(4, reason));
        }
    };
    source.consume(DEFINITION_BYTES);
    Ok(packing)
}

/// The walk from container to container.
struct Walk {
    source: Source,
    /// Number of the container read last; the header's is 0.
    number: u64,
    bytes_max: usize,
}

impl Walk {
    /// Reads the header container; the header's text (§7, §8.3).
    fn read_header(&mut self) -> Result<Vec<u8>> {
        let container = self.read()?;
        let place = container.place();
        let Some(block) = container.blocks.first() else {
            return Err(Fault::at(place, "the CRAM header container has no block"));
        };
        if block.content_type != ContentType::FileHeader {
            return Err(Fault::at(place, "the first CRAM block is not the file header"));
        }
        let data = block
            .inflate(&container.bytes)
            .map_err(|what| Fault::at(place, format!("the CRAM file header block: {what}")))?;
        let text = data.split_first_chunk::<4>().and_then(|(length, text)| {
            text.get(..usize::try_from(i32::from_le_bytes(*length)).ok()?)
        });
        match text {
            Some(text) => Ok(text.to_vec()),
            None => Err(Fault::at(place, "the CRAM header text is cut")),
        }
    }

    /// The next data container; `None` after the end-of-file container.
    fn next(&mut self) -> Result<Option<Container>> {
        let position = self.source.position();
        let head = self.source.require(container::EOF.len())?;
        if head.starts_with(&container::EOF) {
            return self.read_end().map(|()| None);
        }
        if head.is_empty() {
            let reason = format!(
                "the CRAM end-of-file container is missing at byte {position}: the file may be cut"
            );
            return Err(Fault::at_byte(position, reason));
        }
        self.number += 1;
        Ok(Some(self.read()?))
    }

    /// Reads the end-of-file container. Some writers close twice and leave two.
    fn read_end(&mut self) -> Result<()> {
        let length = container::EOF.len();
        while self.source.require(length)?.starts_with(&container::EOF) {
            self.source.consume(length);
        }
        let rest = self.source.position();
        if !self.source.require(1)?.is_empty() {
            let reason = format!("bytes follow the CRAM end-of-file container, from byte {rest}");
            return Err(Fault::at_byte(rest, reason));
        }
        Ok(())
    }

    fn read(&mut self) -> Result<Container> {
        Container::read(&mut self.source, self.number, self.bytes_max)
    }
}

/// What is gathered over the containers.
struct Pass<'a> {
    decoder: Decoder,
    index: IndexBuilder,
    facts: &'a HeaderFacts,
    read_count: u64,
    base_count: u64,
    placed_slices: u64,
}

impl<'a> Pass<'a> {
    fn new(text: &[u8], facts: &'a HeaderFacts, request: &InspectRequest) -> Self {
        Self {
            decoder: Decoder::new(text, request.etag_family),
            index: IndexBuilder::default(),
            facts,
            read_count: 0,
            base_count: 0,
            placed_slices: 0,
        }
    }

    fn container(&mut self, container: &Container) -> Result<()> {
        let fault = |what: String| {
            let (number, byte) = (container.number, container.position);
            Fault::at(container.place(), format!("CRAM container {number} at byte {byte}: {what}"))
        };
        self.read_count += container.head.record_count;
        self.base_count += container.head.base_count;
        let Some(slices) = slice::read_all(container).map_err(fault)? else { return Ok(()) };
        let sequence_count = self.facts.sequences.len();
        for slice in &slices.heads {
            let known = i64::from(slice.reference_id) < sequence_count as i64;
            if !known || slice.reference_id < -2 {
                let id = slice.reference_id;
                let what = format!("a slice has reference {id}, there are {sequence_count}");
                return Err(fault(what));
            }
            self.placed_slices += u64::from(slice.reference_id != -1);
        }
        let spans = self.decoder.container(container, &slices, self.facts).map_err(fault)?;
        self.index.add(container, &slices.heads, spans);
        Ok(())
    }
}

impl Container {
    fn place(&self) -> Place {
        Place { byte: Some(self.position), block: Some(self.number), ..Place::default() }
    }

    fn blocks_of(&self, start: usize) -> impl Iterator<Item = &BlockHead> {
        self.blocks.iter().skip_while(move |block| block.start < start)
    }
}
