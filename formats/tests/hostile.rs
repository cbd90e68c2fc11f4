//! Bytes made to do harm: cut, bent, swollen. Each ends with a reason, in bounded memory and time.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{io::Write, time::Duration};

use flate2::{Compression, write::GzEncoder};
use noodles::{
    bam, cram,
    sam::{self, alignment::io::Write as _},
};
use readvault_inspect_protocol::{
    FileType, InspectRequest, InspectorSettings, SequenceFact, SourceInfo, Verdict,
};
use support::{accepted, check_bytes, inspect, reason, settings, stream};

const FASTQ: &[u8] = b"@r1 1:N:0\nACGTN\n+\nIIIII\n@r2/1\nAC\nGT\n+r2/1\nII\nII\n";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const SAM: &[u8] = b"@HD\tVN:1.6\tSO:coordinate\n@SQ\tSN:c1\tLN:1000\n@RG\tID:g\tSM:s\n\
    r1\t0\tc1\t10\t60\t3M1I1M\t*\t0\t0\tACGTN\tIIIII\tRG:Z:g\tNM:i:1\n\
    r2\t4\t*\t0\t0\t*\t*\t0\t0\tAC\tII\tXF:f:0.25\n";

fn records(text: &[u8]) -> (sam::Header, Vec<sam::alignment::RecordBuf>) {
    let mut reader = sam::io::Reader::new(text);
    let header = reader.read_header().unwrap();
    let records = reader.record_bufs(&header).collect::<Result<_, _>>().unwrap();
    (header, records)
}

fn bam_of(text: &[u8]) -> Vec<u8> {
    let (header, records) = records(text);
    let mut writer = bam::io::Writer::new(Vec::new());
    writer.write_header(&header).unwrap();
    for record in &records {
        writer.write_alignment_record(&header, record).unwrap();
    }
    writer.into_inner().finish().unwrap()
}

/// A CRAM of unmapped reads, which need no reference.
fn cram_of() -> Vec<u8> {
    let (header, records) =
        records(b"@HD\tVN:1.6\nr1\t4\t*\t0\t0\t*\t*\t0\t0\tACGT\tIIII\tXA:i:7\n");
    let mut writer = cram::io::Writer::new(Vec::new());
    writer.write_header(&header).unwrap();
    for record in &records {
        writer.write_alignment_record(&header, record).unwrap();
    }
    writer.try_finish(&header).unwrap();
    writer.into_inner()
}

#[test]
fn sound_files_are_taken() {
    let summary = accepted(&check_bytes(&[FASTQ], None));
    assert_eq!((summary.sources[0].read_count, summary.sources[0].base_count), (2, 9));
    let two_members = [gzip(FASTQ), gzip(FASTQ)].concat();
    assert_eq!(accepted(&check_bytes(&[&two_members], None)).sources[0].read_count, 4);
    let inspection = check_bytes(&[&bam_of(SAM)], Some(FileType::Bam));
    let summary = accepted(&inspection);
    assert_eq!((summary.sources[0].read_count, summary.sources[0].base_count), (2, 7));
    assert!(inspection.index.is_some_and(|index| index.starts_with(b"BAI\x01")));
    let header = summary.header.unwrap();
    assert_eq!(header.read_groups[0].sample.as_deref(), Some("s"));
    let summary = accepted(&check_bytes(&[&cram_of()], None));
    assert_eq!((summary.sources[0].read_count, summary.sources[0].base_count), (1, 4));
    let text = b"r1\t4\t*\t0\t0\t*\t*\t0\t0\tACGT\tIIII\tXA:i:7\n";
    assert_eq!(summary.sources[0].semantic_etag, Some(support::md5_hex(text)));
}

/// Cut at every byte, no file is taken, but a FASTQ that ends on a whole record.
#[test]
fn no_cut_file_is_taken() {
    let whole_records = [FASTQ.len() - 1, 23, 24];
    for (name, bytes) in [
        ("fastq", FASTQ.to_vec()),
        ("fastq.gz", gzip(FASTQ)),
        ("bam", bam_of(SAM)),
        ("cram", cram_of()),
    ] {
        accepted(&check_bytes(&[&bytes], None));
        for cut in 0..bytes.len() {
            let (result, _) = inspect_in_process(&bytes[..cut]);
            if name == "fastq" && whole_records.contains(&cut) {
                continue;
            }
            assert!(!result, "{name} cut at {cut} was taken");
        }
    }
}

/// Every single bit flipped in the checked packings is noticed or harmless, and nothing hangs.
#[test]
fn no_flipped_bit_is_taken_in_a_checked_packing() {
    for (name, bytes) in [("bam", bam_of(SAM)), ("cram", cram_of())] {
        // Header fields of gzip (time, flags, system) and the file id of CRAM carry no meaning.
        let free: Vec<usize> = if name == "cram" { (6..26).collect() } else { Vec::new() };
        for byte in (0..bytes.len()).filter(|byte| !free.contains(byte)) {
            let mut bent = bytes.clone();
            bent[byte] ^= 0x10;
            let (taken, etag) = inspect_in_process(&bent);
            let (_, expected) = inspect_in_process(&bytes);
            assert!(!taken || etag == expected, "{name} bent at {byte} was taken as another");
        }
    }
}

/// The parsers themselves, without a process each: (taken, semantic ETag).
fn inspect_in_process(bytes: &[u8]) -> (bool, Option<String>) {
    let request =
        InspectRequest { sources: vec![SourceInfo::default()], ..InspectRequest::default() };
    let input: Box<dyn std::io::Read> = Box::new(std::io::Cursor::new(bytes.to_vec()));
    match readvault_formats::inspect(&request, vec![input]).unwrap().verdict {
        Verdict::Accepted(summary) => (true, summary.sources[0].semantic_etag.clone()),
        Verdict::Refused(_) => (false, None),
    }
}

#[test]
fn a_bomb_ends_with_a_reason_in_little_memory() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(b"@r\n").unwrap();
    for _ in 0..512 {
        encoder.write_all(&vec![b'A'; 1 << 20]).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 1 << 20);
    let small = InspectorSettings { memory_bytes_max: 256 << 20, ..settings() };
    let request =
        InspectRequest { sources: vec![SourceInfo::default()], ..InspectRequest::default() };
    let reason = reason(&inspect(small, &request, vec![stream(bomb)]));
    assert!(reason.contains("beyond 200 to 1"), "{reason}");
}

#[test]
fn claimed_lengths_cost_nothing() {
    let mut record = Vec::from(*b"BAM\x01");
    record.extend(0_u32.to_le_bytes());
    record.extend(0_u32.to_le_bytes());
    record.extend((200_u32 << 20).to_le_bytes());
    let mut writer = noodles::bgzf::io::Writer::new(Vec::new());
    writer.write_all(&record).unwrap();
    let bytes = writer.finish().unwrap();
    let small = InspectorSettings { memory_bytes_max: 128 << 20, ..settings() };
    let request =
        InspectRequest { sources: vec![SourceInfo::default()], ..InspectRequest::default() };
    let reason = reason(&inspect(small, &request, vec![stream(bytes)]));
    assert!(reason.contains("record 1 is cut: 0 of its 209715200 bytes"), "{reason}");
}

#[test]
fn types_and_references_must_agree() {
    let bam = bam_of(SAM);
    assert!(reason(&check_bytes(&[&bam], Some(FileType::Ubam))).contains("record 1: it is mapped"));
    assert!(reason(&check_bytes(&[&bam], Some(FileType::Cram))).contains("the bytes are BAM"));
    assert!(reason(&check_bytes(&[&bam, &bam], None)).contains("two sources"));
    let unsorted = String::from_utf8(SAM.to_vec()).unwrap().replace("c1\t10\t", "c1\t990\t")
        + "r3\t0\tc1\t5\t60\t2M\t*\t0\t0\tAC\tII\n";
    let inspection = check_bytes(&[&bam_of(unsorted.as_bytes())], None);
    assert!(inspection.index.is_none());
    assert!(accepted(&inspection).notes[0].contains("record 3 is out of order"));
    let mut request =
        InspectRequest { sources: vec![SourceInfo::default()], ..InspectRequest::default() };
    let fact = |length| SequenceFact { name: "c1".into(), length, md5: None };
    request.reference = Some(vec![fact(1000)]);
    accepted(&inspect(settings(), &request, vec![stream(bam.clone())]));
    request.reference = Some(vec![fact(999)]);
    let refused = reason(&inspect(settings(), &request, vec![stream(bam.clone())]));
    assert!(refused.contains("has 1000 bases, in the reference 999"), "{refused}");
    request.reference = None;
    request.sources[0].length = Some(bam.len() as u64 + 1);
    let refused = reason(&inspect(settings(), &request, vec![stream(bam)]));
    assert!(refused.contains("were declared"), "{refused}");
}

#[test]
fn a_long_sequence_gets_a_csi() {
    let text = String::from_utf8(SAM.to_vec()).unwrap().replace("LN:1000", "LN:600000000");
    let inspection = check_bytes(&[&bam_of(text.as_bytes())], None);
    let summary = accepted(&inspection);
    assert_eq!(summary.index.map(|kind| kind.extension()), Some("csi"));
    assert!(inspection.index.is_some_and(|index| index.starts_with(&[0x1f, 0x8b])));
}

#[test]
fn the_cage_holds() {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_readvault-inspect"));
    let (lines, sound) = readvault_formats::sandbox::self_test(program).unwrap();
    assert!(sound, "{lines:#?}");
}

#[test]
fn a_process_that_hangs_starves_or_dies_is_a_refusal() {
    let request =
        InspectRequest { sources: vec![SourceInfo::default()], ..InspectRequest::default() };
    let never = || Box::pin(futures::stream::pending()) as _;
    let short = InspectorSettings { wall_max: Duration::from_millis(300), ..settings() };
    assert!(reason(&inspect(short, &request, vec![never()])).contains("took longer than"));
    // Too little memory to start with: the process dies, whatever way, and is reaped.
    let starved = InspectorSettings { memory_bytes_max: 1 << 20, ..settings() };
    let refused = reason(&inspect(starved, &request, vec![stream(FASTQ.to_vec())]));
    assert!(refused.starts_with("the inspector ended"), "{refused}");
}

#[test]
fn a_source_that_cannot_be_read_is_no_verdict() {
    let program = env!("CARGO_BIN_EXE_readvault-inspect").into();
    let inspector = readvault_inspect_protocol::Inspector::new(program, settings());
    let request =
        InspectRequest { sources: vec![SourceInfo::default()], ..InspectRequest::default() };
    let broken = Box::pin(futures::stream::iter([
        Ok(bytes::Bytes::from_static(b"@r\n")),
        Err(std::io::Error::other("the disk is gone")),
    ]));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(inspector.inspect(&request, vec![broken]));
    assert!(outcome.is_err());
}
