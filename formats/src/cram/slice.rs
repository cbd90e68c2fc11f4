//! Slice headers, and what of the compression header tells whether a reference is needed
//! (CRAM specification §8.4, §8.5).

use super::{
    container::{Container, ContentType},
    cursor::{Cursor, Cut},
};

/// Fields of a slice header.
pub(super) struct SliceHead {
    /// −1: unplaced; −2: several references.
    pub(super) reference_id: i32,
    pub(super) start: i32,
    pub(super) span: i32,
    pub(super) record_count: u64,
    /// Content id of the block with the reference's bases; `None` when it is not embedded.
    pub(super) embedded_reference: Option<i32>,
    /// MD5 of the reference's bases; `None` when the writer gave none.
    pub(super) reference_md5: Option<[u8; 16]>,
    pub(super) landmark: usize,
    pub(super) length: usize,
}

/// The slices of one container.
pub(super) struct Slices {
    pub(super) heads: Vec<SliceHead>,
    /// `RR` of the preservation map.
    pub(super) reference_required: bool,
}

/// Reads compression header and slice headers; `None` for a container without any.
pub(super) fn read_all(container: &Container) -> Result<Option<Slices>, String> {
    let Some(first) = container.blocks.first() else {
        return if container.head.record_count == 0 {
            Ok(None)
        } else {
            Err("it claims records and has no block".into())
        };
    };
    if first.content_type != ContentType::CompressionHeader {
        return Err("its first block is not a compression header".into());
    }
    let compression =
        first.inflate(&container.bytes).map_err(|what| format!("compression header: {what}"))?;
    let reference_required =
        parse_preservation(&compression).map_err(|Cut| "the preservation map is cut".to_owned())?;
    let mut heads = Vec::new();
    for (index, landmark) in container.head.landmarks.iter().copied().enumerate() {
        let next = container.head.landmarks.get(index + 1).copied();
        let end = next.unwrap_or(container.head.length);
        let head = read_one(container, landmark, end)
            .map_err(|what| format!("slice {}: {what}", index + 1))?;
        heads.push(head);
    }
    let record_count: u64 = heads.iter().map(|head| head.record_count).sum();
    if record_count != container.head.record_count {
        let claimed = container.head.record_count;
        return Err(format!("it claims {claimed} records, its slices {record_count}"));
    }
    Ok(Some(Slices { heads, reference_required }))
}

fn read_one(container: &Container, landmark: usize, end: usize) -> Result<SliceHead, String> {
    let start = container.landmark_start(landmark);
    let block = container.blocks_of(start).next().filter(|block| block.start == start);
    let Some(block) = block.filter(|block| block.content_type == ContentType::SliceHeader) else {
        return Err("no slice header stands at its landmark".into());
    };
    let length = end.checked_sub(landmark).ok_or("its landmark is behind the next")?;
    let content = block.inflate(&container.bytes)?;
    let (head, block_count) =
        parse(&content, landmark, length).map_err(|Cut| "its header is cut".to_owned())?;
    let stop = container.landmark_start(end);
    let following = container.blocks_of(start).skip(1).take_while(|block| block.start < stop);
    let found = following.count();
    if found != block_count {
        return Err(format!("it claims {block_count} blocks and has {found}"));
    }
    Ok(head)
}

fn parse(content: &[u8], landmark: usize, length: usize) -> Result<(SliceHead, usize), Cut> {
    let mut cursor = Cursor::new(content);
    let reference_id = cursor.itf8()?;
    let start = cursor.itf8()?;
    let span = cursor.itf8()?;
    let record_count = cursor.count()? as u64;
    let _record_counter = cursor.ltf8()?;
    let block_count = cursor.count()?;
    for _ in 0..cursor.count()? {
        cursor.itf8()?;
    }
    let embedded = cursor.itf8()?;
    let md5: [u8; 16] = cursor.take(16)?.try_into().map_err(|_| Cut)?;
    let head = SliceHead {
        reference_id,
        start,
        span,
        record_count,
        embedded_reference: (embedded >= 0).then_some(embedded),
        reference_md5: (md5 != [0; 16]).then_some(md5),
        landmark,
        length,
    };
    Ok((head, block_count))
}

/// `RR` of the preservation map; true where it is absent.
fn parse_preservation(content: &[u8]) -> Result<bool, Cut> {
    let mut cursor = Cursor::new(content);
    cursor.itf8()?;
    let mut required = true;
    for _ in 0..cursor.count()? {
        match cursor.take(2)? {
            b"RR" => required = cursor.byte()? != 0,
            b"SM" => {
                cursor.take(5)?;
            }
            b"TD" => {
                let length = cursor.count()?;
                cursor.take(length)?;
            }
            _ => {
                cursor.byte()?;
            }
        }
    }
    Ok(required)
}
