//! Flipped bits give an error, never a wrong value; a torn end is no damage.

use super::*;
use readvault_store::ErrorKind;

const PREFIX: usize = 4096;

fn value(index: usize) -> Vec<u8> {
    format!("the value of row {index} ").repeat(20).into_bytes()
}

/// Writes `count` rows, one synced commit each, and gives the directory of a crash copy.
async fn crashed(root: &Path, count: usize) -> PathBuf {
    let catalog = open(&root.join("catalog"));
    for index in 0..count {
        put(&catalog, format!("row-{index:04}"), value(index)).await;
    }
    let crashed = root.join("crashed");
    copy(&root.join("catalog"), &crashed);
    crashed
}

fn of_kind(directory: &Path, extension: &str) -> PathBuf {
    let mut found = files(directory);
    found.retain(|path| path.extension().is_some_and(|e| e == extension));
    found.sort_by_key(|path| path.metadata().unwrap().len());
    found.pop().expect("there is such a file")
}

/// Opens and reads everything; the rows must be the first of those written, in order and right.
async fn first_rows(directory: &Path) -> Result<usize> {
    let rows = rows(&open_with(directory, 1)?).await?;
    for (index, row) in rows.iter().enumerate() {
        assert_eq!(row.key, format!("row-{index:04}").into_bytes());
        assert_eq!(row.value, value(index));
    }
    Ok(rows.len())
}

#[tokio::test]
async fn a_flip_in_the_log_loses_nothing_without_a_word() {
    let scratch = tempfile::tempdir().unwrap();
    let crashed = crashed(scratch.path(), 120).await;
    assert_eq!(first_rows(&crashed).await.unwrap(), 120);

    let scratch = tempfile::tempdir().unwrap();
    let crashed = self::crashed(scratch.path(), 120).await;
    let log = of_kind(&crashed, "log");
    let whole = std::fs::read(&log).unwrap();
    // The last commit's record is not proven by a later one: what is lost there is found by the
    // packs.
    let proven = whole.len() - 1600;
    let mut refused = 0;
    for step in 0..60 {
        let at = PREFIX + step * (proven - PREFIX) / 60;
        let target = scratch.path().join(format!("flip-{step}"));
        copy(&crashed, &target);
        let mut bad = whole.clone();
        bad[at] ^= 0x10;
        std::fs::write(target.join(log.file_name().unwrap()), bad).unwrap();
        match first_rows(&target).await {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "flip at {at}: {error}");
                refused += 1;
                let again = first_rows(&target).await.expect_err("still refused");
                assert_eq!(again.kind(), ErrorKind::Corrupt);
            }
            // Before the first commit, or in bytes that no record covers.
            Ok(count) => assert_eq!(count, 120, "flip at {at} lost rows without a word"),
        }
    }
    assert!(refused > 50, "{refused} of 60 flips were noticed");
}

#[tokio::test]
async fn a_torn_or_zeroed_end_opens() {
    let scratch = tempfile::tempdir().unwrap();
    let crashed = crashed(scratch.path(), 40).await;
    let log = of_kind(&crashed, "log");
    let whole = std::fs::read(&log).unwrap();
    let name = log.file_name().unwrap().to_owned();
    let check = async |label: &str, bytes: &[u8]| {
        let target = scratch.path().join(label);
        copy(&crashed, &target);
        std::fs::write(target.join(&name), bytes).unwrap();
        first_rows(&target).await.unwrap_or_else(|error| panic!("{label}: {error}"))
    };
    // Cut inside the last record; and zeros where a power loss kept the length but not the bytes.
    assert_eq!(check("cut", &whole[..whole.len() - 7]).await, 39);
    let zeros = [&whole[..], &[0; 100_000]].concat();
    assert_eq!(check("longer", &zeros).await, 40);
    let mut zeroed = whole.clone();
    let end = zeroed.len() - 100;
    zeroed[end..].fill(0);
    assert_eq!(check("zeroed", &zeroed).await, 39);
    // Noise makes every type byte; RocksDB's reader does not return from some of them.
    for seed in 0..40_u8 {
        let noise: Vec<u8> = (0..64).map(|byte: u8| byte.wrapping_mul(7) ^ (seed * 6)).collect();
        let noisy = [&whole[..], &noise].concat();
        assert_eq!(check(&format!("noise-{seed}"), &noisy).await, 40);
    }
    // Made by a crash before its prefix was whole.
    std::fs::write(crashed.join("999999.log"), &whole[..1000]).unwrap();
    assert_eq!(first_rows(&crashed).await.unwrap(), 40);
    // The same where its length came to the disk before its bytes.
    let mut zeroed = whole.clone();
    zeroed[..PREFIX].fill(0);
    std::fs::write(crashed.join("999998.log"), zeroed).unwrap();
    assert_eq!(first_rows(&crashed).await.unwrap(), 40);
}

#[tokio::test]
async fn a_flip_in_a_table_file_is_an_error_or_harmless() {
    let scratch = tempfile::tempdir().unwrap();
    let home = scratch.path().join("catalog");
    let catalog = open(&home);
    for index in 0..300 {
        put_as(&catalog, format!("row-{index:04}"), value(index), Durability::Ordered).await;
    }
    drop(catalog);
    let table = of_kind(&home, "sst");
    let whole = std::fs::read(&table).unwrap();
    let mut refused = 0;
    for step in 0..60 {
        let target = scratch.path().join(format!("flip-{step}"));
        copy(&home, &target);
        let mut bad = whole.clone();
        bad[step * whole.len() / 60 + 3] ^= 0x04;
        std::fs::write(target.join(table.file_name().unwrap()), bad).unwrap();
        match first_rows(&target).await {
            Err(_) => refused += 1,
            Ok(count) => assert_eq!(count, 300),
        }
    }
    assert!(refused > 40, "{refused} of 60 flips were noticed");
}

/// The manifest that is in use.
fn manifest(directory: &Path) -> PathBuf {
    let mut found = files(directory);
    found.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with("MANIFEST-"));
    found.sort();
    found.pop().expect("there is a manifest")
}

#[tokio::test]
async fn what_stands_behind_the_durable_part_of_a_manifest_is_not_read() {
    let scratch = tempfile::tempdir().unwrap();
    let crashed = crashed(scratch.path(), 30).await;
    let whole = std::fs::read(manifest(&crashed)).unwrap();
    // As a power loss leaves what was written and not waited for: cut, zeros, or noise.
    for (number, tail) in [&[0; 3000][..], &[0x5a; 3000], &whole[PREFIX..]].iter().enumerate() {
        let target = scratch.path().join(format!("tail-{number}"));
        copy(&crashed, &target);
        std::fs::write(manifest(&target), [&whole[..], tail].concat()).unwrap();
        assert_eq!(first_rows(&target).await.unwrap(), 30);
    }
}

#[tokio::test]
async fn damage_of_a_manifest_is_told() {
    let scratch = tempfile::tempdir().unwrap();
    let crashed = crashed(scratch.path(), 30).await;
    let whole = std::fs::read(manifest(&crashed)).unwrap();
    let check = |bad: &[u8], at: usize| {
        std::fs::write(manifest(&crashed), bad).unwrap();
        let refused = open_with(&crashed, 1).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Corrupt, "{at}: {refused}");
        assert!(refused.to_string().starts_with("MANIFEST-"), "{at}: {refused}");
    };
    // Bit 2 of a record's type makes it one of a recycled log, from which RocksDB's reader does not return.
    for (at, bit) in (PREFIX..whole.len()).flat_map(|at| [(at, 4_u8), (at, 1 << (at % 8))]) {
        let mut bad = whole.clone();
        bad[at] ^= bit;
        check(&bad, at);
    }
    // Some of these end between two records.
    (0..whole.len()).for_each(|length| check(&whole[..length], length));
    std::fs::write(manifest(&crashed), whole).unwrap();
    assert_eq!(first_rows(&crashed).await.unwrap(), 30);
}

#[tokio::test]
async fn a_manifest_without_a_sound_length_is_read_whole() {
    let scratch = tempfile::tempdir().unwrap();
    let crashed = crashed(scratch.path(), 30).await;
    let whole = std::fs::read(manifest(&crashed)).unwrap();
    // Zeros are of before lengths were kept, anything else is a write that failed half-way.
    for count in 1..=24 {
        let target = scratch.path().join(format!("length-{count}"));
        copy(&crashed, &target);
        let mut bad = whole.clone();
        bad[536 - count..536].fill(0);
        std::fs::write(manifest(&target), bad).unwrap();
        assert_eq!(first_rows(&target).await.unwrap(), 30, "{count}");
    }
}
