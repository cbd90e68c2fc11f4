//! Changed, moved, cut, extended and replayed bytes of every record class are refused; equal input
//! seals to different bytes.

use crate::sample::{Sample, size};
use bytes::Bytes;
use futures::FutureExt;
use readvault_store::{
    Result,
    chunk::{
        CHUNK_HEADER_BYTES, ChunkOpener, ChunkRef, ChunkRow, Naming, check_record, open_record,
        random_identity, seal_chunk,
    },
    ids::PackId,
    manifest::{
        ManifestHead, ManifestReader, ManifestWriter, Tail, check_manifest, with_key_block,
    },
    pack::{PackEnd, RecordName, footer, read_pack, read_pack_of},
    seal::{ChunkRootKey, ItemKey, RecordError, SecretKey, VaultKey},
};

fn again(entry: &ChunkRef) -> ChunkRef {
    ChunkRef { key: ChunkRootKey::from_bytes(entry.key.expose()), ..*entry }
}

/// Where a record of `length` bytes is bitten: every byte of its front, then some of every stretch.
fn places(length: usize) -> impl Iterator<Item = usize> {
    (0..length).filter(move |at| *at < 200 || at % 997 == 0 || length - at <= 40)
}

/// All that a manifest's record tells to who has the item's key.
pub(crate) fn read_all(
    record: &[u8],
    sample: &Sample,
    key: &ItemKey,
) -> Result<(Vec<ChunkRef>, Tail)> {
    let head = ManifestHead::open(record, &sample.vault_key)?;
    let fetch = |range: std::ops::Range<u64>| {
        let bytes = record.get(range.start as usize..range.end as usize);
        let bytes = bytes.map(Bytes::copy_from_slice).ok_or(RecordError::Length);
        async move { Ok(bytes?) }
    };
    let read = async {
        let manifest = ManifestReader::open(head, key, fetch).await?;
        let entries = manifest.entries(0..manifest.entry_count(), fetch).await?;
        if manifest.is_inline() {
            manifest.inline(fetch).await?;
        }
        Ok((entries, manifest.tail(fetch).await?))
    };
    read.now_or_never().unwrap()
}

#[test]
fn no_changed_chunk_record_opens() {
    let sample = Sample::new(1);
    for length in [1, 5000, 70_000, 262_144] {
        let body = Sample::body(length);
        let (entry, sealed) = sample.chunk(&body);
        let record = sealed.record().to_vec();
        let open = |record: &[u8]| open_record(record, &entry, size(), &sample.domain);
        assert_eq!(open(&record).unwrap().as_bytes(), &body);
        for at in places(record.len()) {
            let mut bitten = record.clone();
            bitten[at] ^= 1 << (at % 8);
            assert!(open(&bitten).is_err(), "length {length}, byte {at}");
            // Nor with every checksum made right again.
            let header = crc32c::crc32c(&bitten[..CHUNK_HEADER_BYTES - 4]).to_le_bytes();
            bitten[CHUNK_HEADER_BYTES - 4..CHUNK_HEADER_BYTES].copy_from_slice(&header);
            let end = bitten.len() - 4;
            let sum = crc32c::crc32c(&bitten[..end]).to_le_bytes();
            bitten[end..].copy_from_slice(&sum);
            assert!(open(&bitten).is_err() || bitten == record, "length {length}, byte {at}");
        }
        for cut in [0, 1, 85, 86, record.len() - 20, record.len() - 1] {
            assert!(open(&record[..cut]).is_err() && check_record(&record[..cut]).is_err());
        }
        assert!(open(&[&record[..], &[0]].concat()).is_err(), "extended");
        assert!(open(&[&record[..], &record[..]].concat()).is_err(), "doubled");
    }
}

#[test]
fn a_span_that_is_opened_frame_by_frame_is_the_same_or_nothing() {
    let sample = Sample::new(3);
    let body = Sample::body(200_000);
    let (entry, sealed) = sample.chunk(&body);
    let opener = ChunkOpener::new(&entry, &sealed.row(PackId([1; 16]), 0, 1), size()).unwrap();
    let mut buffer = vec![0xAA; 300_000];
    for range in [0..1, 65_535..65_537, 100..200_000, 199_999..200_000] {
        let span = opener.span(range.clone());
        let mut opening = opener.opening(&span, &mut buffer);
        while let Some((offset, length)) = opening.next_frame() {
            opening.push(&sealed.record()[offset as usize..][..length]).unwrap();
        }
        let shown = opening.finish().unwrap();
        assert_eq!(buffer[shown], body[range.start as usize..range.end as usize]);
    }
    let span = opener.span(0..200_000);
    let mut opening = opener.opening(&span, &mut buffer);
    let (offset, length) = opening.next_frame().unwrap();
    let second = &sealed.record()[offset as usize + length..][..length];
    assert!(opening.push(second).is_err(), "a frame out of its turn");
    assert!(opening.finish().is_err(), "frames are missing");
}

#[test]
fn frames_open_only_at_their_place_in_their_record() {
    let sample = Sample::new(2);
    let body = Sample::body(262_144);
    let (entry, sealed) = sample.chunk(&body);
    let row = sealed.row(PackId([1; 16]), 0, 1);
    let opener = ChunkOpener::new(&entry, &row, size()).unwrap();
    let stored = |span: &readvault_store::chunk::FrameSpan| {
        let start = span.offset as usize;
        sealed.record()[start..start + span.length as usize].to_vec()
    };
    for range in [0..1, 65_535..65_537, 65_536..131_072, 100..262_144, 262_143..262_144] {
        let span = opener.span(range.clone());
        let whole_frames = (range.end.div_ceil(65_536) - range.start / 65_536) * (65_536 + 16);
        assert_eq!(span.length, whole_frames, "only the frames that are needed");
        let plain = opener.open(&span, &stored(&span)).unwrap();
        assert_eq!(plain, body.slice(range.start as usize..range.end as usize));
    }
    let (first, second) = (opener.span(0..65_536), opener.span(65_536..131_072));
    assert!(opener.open(&second, &stored(&first)).is_err(), "swapped frames");
    assert!(opener.open(&first, &stored(&first)[1..]).is_err(), "cut short");
    // The same content sealed again: its frames do not fit into this record.
    let (_, other) = sample.chunk(&body);
    let foreign = &other.record()[first.offset as usize..][..first.length as usize];
    assert!(opener.open(&first, foreign).is_err(), "spliced from another sealing");
    // A row of another record is refused before anything is read.
    let (_, stranger) = sample.chunk(&Sample::body(262_143));
    let strange = stranger.row(PackId([1; 16]), 0, 1);
    assert!(ChunkOpener::new(&entry, &strange, size()).is_err());
    let tampered = ChunkRow { commitment: strange.commitment, ..row.clone() };
    let refused = ChunkOpener::new(&entry, &tampered, size()).unwrap_err();
    assert_eq!(refused, RecordError::Authentication);
    for length in [0, 1, 262_143, 262_145, u32::MAX] {
        let wrong = ChunkRef { length, ..again(&entry) };
        assert!(ChunkOpener::new(&wrong, &row, size()).is_err(), "length {length}");
        let row = ChunkRow { payload_bytes: length, ..row.clone() };
        assert!(ChunkOpener::new(&entry, &row, size()).is_err(), "payload {length}");
    }
}

#[test]
fn a_chunk_under_anothers_name_or_key_is_refused() {
    let sample = Sample::new(3);
    let (entry, sealed) = sample.chunk(&Sample::body(5000));
    let (other, _) = sample.chunk(&Sample::body(5001));
    let record = sealed.record();
    let open = |entry: ChunkRef| open_record(record, &entry, size(), &sample.domain);
    assert!(open(again(&entry)).is_ok());
    assert!(open(again(&other)).is_err());
    assert!(open(ChunkRef { id: other.id, ..again(&entry) }).is_err());
    assert!(open(ChunkRef { key: again(&other).key, ..again(&entry) }).is_err());
    let stranger = Sample::new(4);
    assert!(open_record(record, &entry, size(), &stranger.domain).is_err());
}

#[test]
fn names_follow_content_and_its_length() {
    let sample = Sample::new(5);
    let body = Sample::body(5000);
    let longer: Bytes = [&body[..], &[0]].concat().into();
    assert_ne!(sample.chunk(&body).0.id, sample.chunk(&longer).0.id, "X and X followed by zero");
    assert_eq!(sample.chunk(&body).0.id, sample.chunk(&body).0.id);
    assert_ne!(sample.chunk(&body).0.id, Sample::new(6).chunk(&body).0.id, "another domain");
    let (manifest, _) = sample.manifest(std::slice::from_ref(&body));
    let (_, tail) = read_all(manifest.record(), &sample, &sample.item_key).unwrap();
    assert_ne!(tail.digests[0].value, sample.chunk(&body).0.id.0, "file id of one chunk");
    let [chunk] = &Sample::cut(&body)[..] else { panic!("one chunk") };
    let draws = [0; 2].map(|_| random_identity(&sample.domain, chunk, &*sample.entropy));
    assert_ne!(draws[0].id(), draws[1].id(), "named at random");
    let sealed = seal_chunk(&draws[0], chunk, size(), &*sample.entropy);
    let [first, _] = draws;
    let entry = first.into_ref();
    assert_eq!(entry.naming, Naming::Random);
    assert!(open_record(sealed.record(), &entry, size(), &sample.domain).is_ok());
}

#[test]
fn every_sealing_draws_a_fresh_prefix_and_salt() {
    let sample = Sample::new(7);
    let body = Sample::body(5000);
    let sealed = [0; 20].map(|_| sample.chunk(&body).1.header().prefix);
    let distinct: std::collections::HashSet<_> = sealed.iter().collect();
    assert_eq!(distinct.len(), 20);
    let manifests = [0; 20].map(|_| sample.inline(&body));
    let ids: std::collections::HashSet<_> = manifests.iter().map(|m| m.id()).collect();
    let fronts: std::collections::HashSet<_> =
        manifests.iter().map(|m| &m.record()[..72]).collect();
    assert_eq!((ids.len(), fronts.len()), (20, 20));
}

#[test]
fn no_changed_manifest_opens() {
    let sample = Sample::new(8);
    let many: Vec<Bytes> = (1..=3).map(|i| Sample::body(300_000 * i)).collect();
    let records = [sample.inline(&Sample::body(300)), sample.manifest(&many).0];
    for manifest in &records {
        let record = manifest.record().to_vec();
        assert!(read_all(&record, &sample, &sample.item_key).is_ok());
        assert_eq!(check_manifest(&record).unwrap(), manifest.id());
        for at in places(record.len() - 4) {
            let mut bitten = record.clone();
            bitten[at] ^= 1 << (at % 8);
            assert!(check_manifest(&bitten).is_err(), "checksum, byte {at}");
            let sum = crc32c::crc32c(&bitten[..68]).to_le_bytes();
            bitten[68..72].copy_from_slice(&sum);
            let opened = read_all(&bitten, &sample, &sample.item_key);
            assert!(opened.is_err() || bitten == record, "byte {at}");
        }
        for cut in [0, 71, 72, 80, record.len() / 2, record.len() - 21] {
            assert!(read_all(&record[..cut], &sample, &sample.item_key).is_err(), "cut at {cut}");
        }
        let stranger = Sample::new(9);
        assert!(read_all(&record, &sample, &stranger.item_key).is_err(), "another item's key");
        assert!(ManifestHead::open(&record, &stranger.vault_key).is_err(), "another vault");
    }
    // Blocks and bodies do not move between manifests of one item.
    let (a, b) = (sample.inline(&Sample::body(300)), sample.inline(&Sample::body(300)));
    for split in [72, 300] {
        let spliced = [&a.record()[..split], &b.record()[split..]].concat();
        assert!(read_all(&spliced, &sample, &sample.item_key).is_err(), "spliced at {split}");
    }
}

#[test]
fn a_key_block_is_rewritten_without_its_body() {
    let sample = Sample::new(10);
    let manifest = sample.inline(&Sample::body(300));
    let (_, mut key) = sample.blocks();
    key.key_id = "keyring/v2, which is longer".into();
    let rewritten =
        with_key_block(manifest.record(), &key, &sample.vault_key, &*sample.entropy).unwrap();
    assert_eq!(rewritten.id(), manifest.id());
    let head = ManifestHead::open(rewritten.record(), &sample.vault_key).unwrap();
    assert_eq!(head.key(), &key);
    assert!(read_all(rewritten.record(), &sample, &sample.item_key).is_ok());
}

#[test]
fn a_range_of_a_large_manifest_touches_few_frames() {
    let sample = Sample::new(11);
    let (template, _) = sample.chunk(&Sample::body(262_144));
    let mut writer = ManifestWriter::chunks(size());
    for _ in 0..20_000 {
        writer.push(&template).unwrap();
    }
    let record = sample.seal(writer, &Tail::default()).record().clone();
    let fetched = std::sync::Mutex::new(Vec::new());
    let fetch = |range: std::ops::Range<u64>| {
        fetched.lock().unwrap().push(range.end - range.start);
        let bytes = record.slice(range.start as usize..range.end as usize);
        async move { Ok(bytes) }
    };
    let read = async {
        let head = ManifestHead::open(&record, &sample.vault_key)?;
        let manifest = ManifestReader::open(head, &sample.item_key, fetch).await?;
        let at = 15_000_u64 * 262_144 + 77;
        let span = manifest.span_at(at..at + 65_536).unwrap();
        assert_eq!((span.entry, span.range.clone()), (15_000, 77..65_613));
        manifest.entries(span.entry..span.entry + 1, fetch).await
    };
    let entries = read.now_or_never().unwrap().unwrap();
    assert_eq!(entries[0].id, template.id);
    let total: u64 = fetched.lock().unwrap().iter().sum();
    assert!(total <= 3 * (65_536 + 16), "{total} bytes for one entry of {}", record.len());
}

#[test]
fn a_pack_tells_what_is_authentic_in_it() {
    let sample = Sample::new(12);
    let (pack, extents) = sample.pack();
    let contents = read_pack(&pack, &sample.vault_key).unwrap();
    let found = contents.batches.iter().flat_map(|batch| &batch.index.records);
    let found: Vec<_> = found.map(|record| (record.offset, record.length)).collect();
    let stored: Vec<_> = extents.iter().map(|extent| (extent.offset, extent.length)).collect();
    assert_eq!(found, stored);
    assert_eq!((contents.end, contents.damaged.len()), (PackEnd::Open, 0));
    let [first, second] = &contents.batches[..] else { panic!("two batches") };
    assert_eq!(second.index.previous, first.hash);
    assert_eq!((second.index.sequence, second.index.acknowledged), (2, 3));
    assert_eq!((second.index.tombstones.len(), second.index.voids.len()), (1, 1));
    let manifests = second.index.records.iter();
    assert!(manifests.clone().all(|record| matches!(record.name, RecordName::Manifest(_))));

    // Cut anywhere, it gives a beginning of its batches and nothing else.
    for cut in places(pack.len()).filter(|cut| *cut >= 41) {
        let contents = read_pack(&pack[..cut], &sample.vault_key).unwrap();
        let whole = contents.batches.iter().zip([first, second]).all(|(a, b)| a == b);
        assert!(whole && contents.batches.len() < 2 || cut == pack.len(), "cut at {cut}");
        assert!(contents.end != PackEnd::Open || contents.batches.len() == 1 || cut == 41);
    }
    // A foreign key authenticates nothing.
    let stranger = VaultKey::from_bytes(&[1; 32]);
    assert!(read_pack(&pack, &stranger).unwrap().batches.is_empty());
    // A batch that is repeated, or moved to the front, is not taken in again.
    let at = second.index.start as usize;
    let repeated = [&pack[..], &pack[at..]].concat();
    let contents = read_pack(&repeated, &sample.vault_key).unwrap();
    assert_eq!(contents.batches.len(), 2);
    assert_eq!(contents.end, PackEnd::Torn(pack.len() as u64..repeated.len() as u64));
    let moved = [&pack[..41], &pack[at..]].concat();
    assert!(read_pack(&moved, &sample.vault_key).unwrap().batches.is_empty());
}

#[test]
fn damage_inside_a_pack_hides_only_its_own_batch() {
    let sample = Sample::new(13);
    let (pack, _) = sample.pack();
    let sound = read_pack(&pack, &sample.vault_key).unwrap();
    let second = sound.batches[1].index.start;
    let index = sound.batches[0].index.records_end() as usize;
    let indexes =
        [&pack[index..second as usize], &pack[sound.batches[1].index.records_end() as usize..]];
    let closed = footer(pack.len() as u64, &indexes.map(<[u8]>::to_vec));
    let closed = [&pack[..], &closed].concat();
    assert_eq!(read_pack(&closed, &sample.vault_key).unwrap().end, PackEnd::Closed);
    for at in [41, 60, index + 2, index + 12, index + 40] {
        let mut damaged = pack.clone();
        damaged[at] ^= 0x10;
        let contents = read_pack(&damaged, &sample.vault_key).unwrap();
        let numbers: Vec<_> = contents.batches.iter().map(|batch| batch.number).collect();
        // Damage of a record's header is walked around: the index behind it still tells of the
        // batch.
        let expected: &[u32] = if at < index { &[0, 1] } else { &[1] };
        assert_eq!(numbers, expected, "byte {at}");
        assert_eq!(contents.damaged.len(), 1, "byte {at}");
        let mut damaged = closed.clone();
        damaged[at] ^= 0x10;
        let contents = read_pack(&damaged, &sample.vault_key).unwrap();
        assert_eq!(contents.batches.len(), 2, "the footer repeats the index; byte {at}");
    }
}

#[test]
fn a_pack_whose_header_is_lost_is_read_by_its_name() {
    let sample = Sample::new(14);
    let (pack, extents) = sample.pack();
    let id = extents[0].pack;
    let sound = read_pack(&pack, &sample.vault_key).unwrap();
    assert_eq!(read_pack_of(id, &&pack[..], &sample.vault_key), sound);
    let mut lost = pack.clone();
    lost[..41].fill(0);
    assert!(read_pack(&lost, &sample.vault_key).is_err());
    let found = read_pack_of(id, &&lost[..], &sample.vault_key);
    assert_eq!((found.batches, found.damaged.first()), (sound.batches, Some(&(0..41))));
    for length in [0, 1, 41] {
        let found = read_pack_of(id, &&vec![0; length][..], &sample.vault_key);
        assert_eq!((found.batches.len(), found.end), (0, PackEnd::Torn(0..length as u64)));
    }
    // Renamed, its indexes open nowhere.
    assert!(read_pack_of(PackId([9; 16]), &&pack[..], &sample.vault_key).batches.is_empty());
}
