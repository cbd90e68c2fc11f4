//! Real and damaged files of the shared corpus, judged through the real process and its cage.
//!
//! The corpus is found by `READVAULT_CORPUS` or beside the workspace. Without it the tests say so
//! and pass.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{collections::BTreeMap, path::Path, process::Command};

use readvault_inspect_protocol::{FileType, Summary, Verdict};
use support::{accepted, check, corpus, md5_hex, reason};

/// Files of `invalid/` that must be taken.
const VALID: [&str; 5] = [
    "block_dropped.bam",
    "no_final_newline.fastq",
    "ok_small.bam",
    "ok_small_R1.fastq.gz",
    "ok_small_R2.fastq.gz",
];

/// What the refusal of each other file of `invalid/` must say. The pair is tested apart.
const REFUSED: [(&str, &str); 25] = [
    ("0000_empty_noeof.cram", "end-of-file container is missing at byte 56"),
    ("1.quickcheck.badeof.bam", "end-of-file marker is missing at byte 1228"),
    ("2.quickcheck.badheader.bam", "gzip member 1 at byte 0: its deflate stream is damaged"),
    ("5.quickcheck.scramble30.truncated.cram", "end-of-file container is missing at byte 11960"),
    ("9.quickcheck.cram30.truncated.cram", "end-of-file container is missing at byte 49084"),
    ("bad_crc.fastq.gz", "gzip member 1 at byte 0: CRC32 is 0x"),
    ("bad_isize.fastq.gz", "gzip member 1 at byte 0: ISIZE is 78301, the data's is 78300"),
    ("crlf.fastq", "line 1 ends in CR LF"),
    ("cut_mid_block.bam", "BGZF block 7 at byte 98218: it is cut"),
    ("cut_record.fastq", "record 300 (line 1198): it is cut after its sequence line"),
    ("empty.fastq", "the source is empty"),
    ("empty.fastq.gz", "the source holds no reads"),
    ("flipped_bit.bam", "BGZF block 7 at byte 98218: CRC32 is 0x"),
    ("no_at.fastq", "record 2 (line 5): its name line does not begin with @"),
    ("no_eof.bam", "end-of-file marker is missing at byte 177870"),
    ("no_plus.fastq", "record 2 (line 7): its separator line does not begin with +"),
    ("nul_in_seq.fastq", "record 1 (line 2): its sequence has a NUL byte at column 6"),
    ("qual_out_of_range.fastq", "record 1 (line 4): its quality has byte 31 at column 1"),
    ("qual_short.fastq", "record 1 (line 4): 100 quality values for 101 bases"),
    ("trailing_garbage.fastq.gz", "bytes follow gzip member 1, from byte 23878"),
    ("trunc_mid_deflate.fastq.gz", "gzip member 1 at byte 0 is cut at byte 15918"),
    ("truncated.bam", "it is cut"),
    // The mates of ok_small_R1: sound by themselves, refused as a pair.
    ("pair_missing_R2.fastq.gz", ""),
    ("pair_swapped_R2.fastq.gz", ""),
    ("sam_failed", ""),
];

#[test]
fn invalid_files_are_judged_as_the_corpus_says() {
    let Some(corpus) = corpus() else { return };
    let refused: BTreeMap<_, _> = REFUSED.into_iter().collect();
    for entry in std::fs::read_dir(corpus.join("invalid")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if VALID.contains(&name.as_str()) {
            accepted(&check(&[&path], None));
            continue;
        }
        let fragment = refused.get(name.as_str()).unwrap_or_else(|| panic!("{name} is new"));
        if !fragment.is_empty() {
            let reason = reason(&check(&[&path], None));
            assert!(reason.contains(fragment), "{name}: {reason}");
        }
    }
}

#[test]
fn pairs_must_be_in_step() {
    let Some(corpus) = corpus() else { return };
    let file = |name: &str| corpus.join("invalid").join(name);
    let first = file("ok_small_R1.fastq.gz");
    let pair = accepted(&check(&[&first, &file("ok_small_R2.fastq.gz")], Some(FileType::Fastq)));
    assert_eq!(pair.sources.iter().map(|s| s.read_count).collect::<Vec<_>>(), [300, 300]);
    let missing = reason(&check(&[&first, &file("pair_missing_R2.fastq.gz")], None));
    assert!(missing.contains("record"), "{missing}");
    let swapped = reason(&check(&[&first, &file("pair_swapped_R2.fastq.gz")], None));
    assert!(swapped.contains("different names"), "{swapped}");
    for (first, second) in [
        ("fastq/hiseq_TESTX_L001_R1.fastq.gz", "fastq/hiseq_TESTX_L001_R2.fastq.gz"),
        ("fastq/novaseq_L001_R1.fastq.gz", "fastq/novaseq_L001_R2.fastq.gz"),
        ("fastq/novaseq_meta_1.fq.gz", "fastq/novaseq_meta_2.fq.gz"),
        ("fastq/srr3927310_1.fq.gz", "fastq/srr3927310_2.fq.gz"),
    ] {
        accepted(&check(&[&corpus.join(first), &corpus.join(second)], None));
    }
}

#[test]
fn fastq_counts_and_etags_are_those_of_its_text() {
    let Some(corpus) = corpus() else { return };
    for entry in std::fs::read_dir(corpus.join("fastq")).unwrap() {
        let path = entry.unwrap().path();
        let summary = accepted(&check(&[&path], Some(FileType::Fastq)));
        let bytes = std::fs::read(&path).unwrap();
        let text = if bytes.starts_with(&[0x1f, 0x8b]) {
            Command::new("gzip").arg("-dc").arg(&path).output().unwrap().stdout
        } else {
            bytes.clone()
        };
        let source = &summary.sources[0];
        assert_eq!(source.semantic_etag.as_deref(), Some(&*md5_hex(&text)), "{path:?}");
        assert_eq!(source.md5, md5_hex(&bytes), "{path:?}");
        if let Some(sam) = samtools(&["import", "-0"], &path) {
            let records = sam.split(|b| *b == b'\n').filter(|l| !l.is_empty() && l[0] != b'@');
            assert_eq!(source.read_count, records.count() as u64, "{path:?}");
        }
    }
}

#[test]
fn bam_counts_etags_and_indexes_are_those_of_samtools() {
    let Some(corpus) = corpus() else { return };
    for folder in ["bam", "ubam"] {
        for path in files(&corpus.join(folder), "bam") {
            let inspection = check(&[&path], None);
            let summary = accepted(&inspection);
            compare(&path, &summary, &[]);
            if let Some(index) = &inspection.index {
                compare_index(&path, index, "bai");
            }
        }
    }
}

#[test]
fn cram_counts_and_etags_are_those_of_samtools() {
    let Some(corpus) = corpus() else { return };
    let mut paths = files(&corpus.join("cram"), "cram");
    paths.extend(files(&corpus.join("cram/spec3.0_passed"), "cram"));
    let reference = corpus.join("ref/ce.fa");
    let mut with_etag = 0;
    for path in paths {
        let inspection = check(&[&path], Some(FileType::Cram));
        if std::fs::read(&path).unwrap()[4..6] == [2, 1] {
            let reason = reason(&inspection);
            assert!(reason.contains("CRAM 2.1 is not taken"), "{reason}");
            assert!(reason.contains("samtools view -C"), "{reason}");
            continue;
        }
        let summary = accepted(&inspection);
        let source = &summary.sources[0];
        let explained = summary.notes.iter().any(|note| note.starts_with("no semantic ETag"));
        assert_eq!(source.semantic_etag.is_none(), explained, "{path:?} {:?}", summary.notes);
        with_etag += u32::from(source.semantic_etag.is_some());
        let reference = format!("reference={}", reference.display());
        let options =
            ["--input-fmt-option", "decode_md=0", "--input-fmt-option", reference.as_str()];
        compare(&path, &summary, &options);
    }
    assert!(with_etag >= 8, "{with_etag}");
}

/// Every `.sam` is refused; what samtools converts without mending is refused as BAM too.
#[test]
fn sam_is_refused_and_so_is_a_fault_that_survives_conversion() {
    let Some(corpus) = corpus() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut survived = 0;
    for path in files(&corpus.join("invalid/sam_failed"), "sam") {
        for declared in [None, Some(FileType::Bam)] {
            let reason = reason(&check(&[&path], declared));
            assert!(reason.contains("SAM text is not an accepted type"), "{path:?}: {reason}");
        }
        let bam = folder.path().join("converted.bam");
        let converted = Command::new("samtools")
            .args(["view", "-b", "--no-PG", "-o"])
            .args([&bam, &path])
            .output();
        if !converted.is_ok_and(|output| output.status.success()) {
            continue;
        }
        let back = samtools(&["view", "-h", "--no-PG"], &bam).unwrap();
        if back != std::fs::read(&path).unwrap() {
            continue;
        }
        survived += 1;
        let verdict = check(&[&bam], None).verdict;
        assert!(matches!(verdict, Verdict::Refused(_)), "{path:?} was taken as BAM");
    }
    println!("{survived} faults survived the conversion");
}

#[test]
fn references_agree_with_samtools() {
    let Some(corpus) = corpus() else { return };
    for name in ["ce.fa", "xx.fa"] {
        let path = corpus.join("ref").join(name);
        let inspection = check(&[&path], Some(FileType::Reference));
        let summary = accepted(&inspection);
        let index = inspection.index.unwrap();
        if let Ok(expected) = std::fs::read(path.with_extension("fa.fai")) {
            assert_eq!(index, expected);
        }
        if let Some(dictionary) = samtools(&["dict", "-H"], &path) {
            let dictionary = String::from_utf8(dictionary).unwrap();
            for (line, sequence) in dictionary.lines().zip(&summary.reference) {
                let expected = format!(
                    "@SQ\tSN:{}\tLN:{}\tM5:{}",
                    sequence.name, sequence.length, sequence.md5
                );
                assert!(line.starts_with(&expected), "{line}");
            }
        }
        assert!(summary.reference.iter().all(|sequence| sequence.refget.len() == 35));
    }
}

fn files(folder: &Path, extension: &str) -> Vec<std::path::PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|known| known == extension))
        .collect();
    paths.sort();
    paths
}

/// Standard output of samtools; `None`, said aloud, where it is not there or fails.
fn samtools(arguments: &[&str], path: &Path) -> Option<Vec<u8>> {
    let output = Command::new("samtools")
        .args(arguments)
        .arg(path)
        .env("REF_PATH", "/nonexistent")
        .env("REF_CACHE", "/nonexistent")
        .output();
    match output {
        Ok(output) if output.status.success() => Some(output.stdout),
        _ => {
            println!("samtools {arguments:?} cannot judge {path:?}");
            None
        }
    }
}

fn compare(path: &Path, summary: &Summary, options: &[&str]) {
    let view = [&["view", "--no-PG"][..], options].concat();
    let Some(text) = samtools(&view, path) else { return };
    let source = &summary.sources[0];
    let lines: Vec<_> = text.split(|b| *b == b'\n').filter(|line| !line.is_empty()).collect();
    assert_eq!(source.read_count, lines.len() as u64, "{path:?}");
    let bases = lines.iter().map(|line| match line.split(|b| *b == b'\t').nth(9) {
        Some(b"*") | None => 0,
        Some(bases) => bases.len() as u64,
    });
    assert_eq!(source.base_count, bases.sum::<u64>(), "{path:?}");
    if let Some(etag) = &source.semantic_etag {
        let alike = [md5_hex(&text), md5_hex(&sign_ties(&lines))];
        assert!(alike.contains(etag), "{path:?}: {etag}");
    }
}

/// The text with TLEN positive in the first of two mates that start at the same base, where that
/// is read 2. A CRAM may leave TLEN to be computed, the specification leaves the sign of such a
/// tie open, and samtools gives the plus to read 1.
fn sign_ties(lines: &[&[u8]]) -> Vec<u8> {
    let mut turned = std::collections::HashSet::new();
    let mut seen = std::collections::HashSet::new();
    let mut text = String::new();
    for line in lines {
        let line = std::str::from_utf8(line).unwrap();
        let mut fields: Vec<_> = line.split('\t').map(str::to_owned).collect();
        let tie = fields[3] == fields[7] && fields[6] == "=" && fields[8] != "0";
        let is_second = fields[1].parse::<u16>().unwrap() & 0x80 != 0;
        let is_first_seen = tie && seen.insert(fields[0].clone());
        if is_first_seen && is_second && fields[8].starts_with('-') {
            turned.insert(fields[0].clone());
        }
        if tie && turned.contains(&fields[0]) {
            let length = fields[8].trim_start_matches('-').to_owned();
            fields[8] = if is_first_seen { length } else { format!("-{length}") };
        }
        text.push_str(&fields.join("\t"));
        text.push('\n');
    }
    text.into_bytes()
}

/// Every sequence's records, fetched through our index, are as many as without one.
fn compare_index(path: &Path, index: &[u8], extension: &str) {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("reads.bam");
    std::fs::copy(path, &copy).unwrap();
    std::fs::write(folder.path().join(format!("reads.bam.{extension}")), index).unwrap();
    let Some(ours) = samtools(&["idxstats"], &copy) else { return };
    std::fs::remove_file(folder.path().join(format!("reads.bam.{extension}"))).unwrap();
    assert!(samtools(&["index"], &copy).is_some());
    let theirs = samtools(&["idxstats"], &copy).unwrap();
    assert_eq!(String::from_utf8(ours).unwrap(), String::from_utf8(theirs).unwrap(), "{path:?}");
}
