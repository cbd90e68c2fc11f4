use super::*;

const WORDS: [&str; 4] = ["NA12878-subject", "sample/zebra.bam", "tag=hereditary", "valueword42"];

#[tokio::test]
async fn no_file_shows_a_key_or_a_value() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path().join("catalog");
    let catalog = open(&home);
    for round in 0..3_000 {
        let key = format!("{}-{round}", WORDS[round % 3]);
        put_as(&catalog, key, format!("{} {round}", WORDS[3]).repeat(4), Durability::Ordered).await;
    }
    put(&catalog, WORDS[0], WORDS[1]).await;
    catalog.checkpoint(&directory.path().join("checkpoint")).await.unwrap();
    copy(&home, &directory.path().join("running"));
    drop(catalog);
    drop(open(&home));

    let mut seen = 0;
    for path in files(directory.path()) {
        let bytes = std::fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(!name.starts_with("LOG"), "RocksDB writes no diagnostics");
        assert!(bytes.is_empty() || bytes.starts_with(b"RVCATF\x01\n"), "{name} is not encrypted");
        for word in WORDS.iter().chain(&["alpha", "rocksdb", "leveldb"]) {
            let found = bytes.windows(word.len()).any(|window| window == word.as_bytes());
            assert!(!found, "{word} stands in {name}");
        }
        seen += usize::from(!bytes.is_empty());
    }
    assert!(seen >= 12, "tables, logs, manifests and checkpoint were looked at: {seen}");
}
