use super::*;
use readvault_store::ErrorKind;

const VALUES: [&str; 3] = ["NA12878-subject", "tag=hereditary", "valueword42"];
const KEY: &str = "sample/zebra.bam";

/// What somebody with the database's files reads: keys of rows, and nothing of values.
#[tokio::test]
async fn values_stand_sealed_in_every_file_and_keys_do_not() {
    let Some(cluster) = Cluster::start().await else { return };
    let url = cluster.database().await;
    let catalog = open(&url).await;
    for round in 0..300 {
        put(&catalog, format!("{KEY}-{round}"), VALUES[round % 3].repeat(4)).await;
    }
    let mut large = putting("large", VALUES[2].repeat(20_000));
    large.durability = Durability::Ordered;
    assert!(matches!(catalog.commit(large).await.unwrap(), Outcome::Applied { .. }));
    let admin = cluster.client("vault0").await.unwrap();
    admin.batch_execute("CHECKPOINT").await.unwrap();
    let target = cluster.home().join("checkpoint");
    catalog.checkpoint(&target).await.unwrap();

    let (mut keys, mut seen) = (0, 0);
    for path in files(cluster.home()) {
        let bytes = std::fs::read(&path).unwrap_or_default();
        let holds = |word: &str| bytes.windows(word.len()).any(|part| part == word.as_bytes());
        for word in VALUES {
            assert!(!holds(word), "{word} stands in {}", path.display());
        }
        if path.starts_with(&target) {
            seen += 1;
            assert!(!holds(KEY) && !holds("alpha"), "a name stands in a checkpoint");
        } else {
            keys += usize::from(holds(KEY));
        }
    }
    assert_eq!(seen, 1, "the checkpoint was looked at");
    assert!(keys > 0, "this looks where rows are: the database's administrator reads their keys");
}

/// What the database's administrator could do to rows.
#[tokio::test]
async fn a_moved_or_edited_value_is_refused() {
    let Some(cluster) = Cluster::start().await else { return };
    let url = cluster.database().await;
    let catalog = open(&url).await;
    for value in ["first", "second"] {
        let mut commit = putting("a", value);
        commit.put(RowKey::new(ALPHA, "b"), "other").put(RowKey::new(TABLES[1], "a"), "beta");
        assert!(matches!(catalog.commit(commit).await.unwrap(), Outcome::Applied { .. }));
    }
    let admin = cluster.client("vault0").await.unwrap();
    let forgeries = [
        // Another row's value, another table's, a part, nothing, and one with another version.
        "(SELECT value FROM readvault.rows s WHERE s.key = 'b')",
        "(SELECT value FROM readvault.rows s WHERE s.key = 'a' AND s.tab <> r.tab)",
        "substring(value FROM 1 FOR 20)",
        "''",
        "set_byte(value, 1, 9)",
    ];
    let alpha = "tab = (SELECT id FROM readvault.tables WHERE name = 'alpha') AND key = 'a'";
    let query = format!("SELECT value FROM readvault.rows WHERE {alpha}");
    let sound: Vec<u8> = admin.query_one(&query, &[]).await.unwrap().get(0);
    let restore = format!("UPDATE readvault.rows SET value = $1 WHERE {alpha}");
    for forgery in forgeries {
        let forge = format!("UPDATE readvault.rows r SET value = {forgery} WHERE {alpha}");
        assert_eq!(admin.execute(&forge, &[]).await.unwrap(), 1, "{forgery}");
        let row = RowKey::new(ALPHA, "a");
        let read = catalog.read(std::slice::from_ref(&row)).await;
        assert_eq!(read.unwrap_err().kind(), ErrorKind::Corrupt, "{forgery}");
        assert_eq!(rows(&catalog).await.unwrap_err().kind(), ErrorKind::Corrupt, "{forgery}");
        let mut commit = putting("c", "");
        commit.unchanged(row, 2);
        let checked = catalog.commit(commit).await;
        assert_eq!(checked.unwrap_err().kind(), ErrorKind::Corrupt, "{forgery}");
        admin.execute(&restore, &[&sound]).await.unwrap();
    }
    assert_eq!(rows(&catalog).await.unwrap().len(), 2);
}

#[tokio::test]
async fn another_key_is_told_from_damage() {
    let Some(cluster) = Cluster::start().await else { return };
    let url = cluster.database().await;
    put(&open(&url).await, "a", "b").await;
    let error = PostgresCatalog::open(params(&url, 2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyUnavailable);
    let admin = cluster.client("vault0").await.unwrap();
    admin.batch_execute("DELETE FROM readvault.writer").await.unwrap();
    let error = PostgresCatalog::open(params(&url, 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "rows without their writer");
}

/// The words of errors may reach the log of this server: they quote nothing.
#[tokio::test]
async fn errors_quote_no_key() {
    let Some(cluster) = Cluster::start().await else { return };
    let catalog = open(&cluster.database().await).await;
    let admin = cluster.client("vault0").await.unwrap();
    admin
        .batch_execute("ALTER TABLE readvault.rows ADD CONSTRAINT no CHECK (key <> 'zebra-word')")
        .await
        .unwrap();
    let error = catalog.commit(putting("zebra-word", "value")).await.unwrap_err();
    let words = format!("{error:?} {error}");
    assert!(words.contains("23514") && !words.contains("zebra"), "{words}");
    put(&catalog, "another", "the connection goes on").await;
}
