//! Fills a `--dev` vault with read sets, faster than over HTTP, for measurements of large catalogs.
//!
//! `fill_vault DATA COUNT`: makes a sequence store with COUNT active read sets of one small file each. Every
//! file is sealed and stored as an upload would do it (a chunk and a manifest of its own), every read set has
//! its row and its index, all through the vault. Left out are the inspection, whose facts are made up, and the
//! copy of the row in the packs, so that a rebuild from packs alone would not find these read sets.
//! Prints one line of JSON when all is durable, then waits to be killed or for its standard input to end.

use std::{io::Read, sync::Arc};

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Parser;
use futures::{StreamExt, TryStreamExt, stream};
use readvault_ambient::{Clock, System};
use readvault_ops::{
    authorize::{Ask, Authorizer},
    core::{Core, Site},
    identity::{Identity, RootCredentials, SecretKey},
    read_set::{ReadSet, ReadSetFacts, ReadSetFile, ReadSetFiles, ReadSetStatus, index},
    sequence_store::{
        SequenceStore,
        create::{self, NewSequenceStore},
    },
};
use readvault_server::{
    app::DevVault,
    settings::{Cli, Command, Serve},
};
use readvault_store::{
    catalog::Commit,
    vault::{FileRole, FileSpec, ItemKind, Metadata, SlotChoice, Staged, VaultCommit},
};

/// Read sets of one commit: together below the catalog's limit of bytes.
const BATCH: u64 = 200;

/// Batches under way at once.
const BATCHES_AT_ONCE: usize = 8;

/// Files of one batch that are staged at once.
const FILES_AT_ONCE: usize = 48;

/// Read sets of one sample, and samples of one subject.
const PER_SAMPLE: u64 = 4;
const SAMPLES_PER_SUBJECT: u64 = 10;

/// Read sets after which closed packs are settled: a server that writes as fast does so every five seconds.
const SETTLED_EVERY: u64 = 25_000;

/// Milliseconds between the creation of two read sets.
const APART_MS: u64 = 1000;

/// First number of a read set.
const FIRST_READ_SET: u64 = 1_000_000_001;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let data = arguments.next().context("DATA is missing")?;
    let count: u64 = arguments.next().context("COUNT is missing")?.parse()?;
    let begun = System.monotonic();
    let cli = Cli::try_parse_from(["readvaultd", "serve", "--dev", "--data", &data])?;
    let Command::Serve(settings) = cli.command else { anyhow::bail!("a vault is not served") };
    let open = DevVault::open(&settings).await?;
    let fill = Fill::begin(&open, &settings, count).await?;
    let batches = count.div_ceil(BATCH);
    stream::iter(0..batches)
        .map(|batch| fill.batch(batch * BATCH..count.min((batch + 1) * BATCH)))
        .buffer_unordered(BATCHES_AT_ONCE)
        .try_collect::<()>()
        .await?;
    let seconds = (System.monotonic() - begun).as_secs_f64();
    println!(
        "{}",
        serde_json::json!({
            "store": fill.store.id,
            "alias": fill.store.alias,
            "read_sets": count,
            "first_ms": fill.first_ms,
            "apart_ms": APART_MS,
            "seconds": seconds,
        })
    );
    let _ = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await;
    Ok(())
}

struct Fill {
    core: Core,
    store: SequenceStore,
    first_ms: u64,
}

impl Fill {
    async fn begin(open: &DevVault, settings: &Serve, count: u64) -> Result<Self> {
        let site = Site { account: settings.account.clone(), region: settings.region.clone() };
        let core =
            Core::new(open.vault().clone(), site.clone(), Arc::new(System), Arc::new(System));
        let identity = Identity::new(
            site,
            RootCredentials { access_key: "fill".into(), secret: SecretKey::new("fill".into()) },
        );
        let caller = identity.assume(&identity.run_role_arn(), "fill")?;
        let ask = Ask::new("omics:CreateSequenceStore", "*");
        let permit = Authorizer::default().authorize(&caller, &[ask])?;
        let new = NewSequenceStore {
            name: "filled".into(),
            description: None,
            fallback_location: None,
            etag_family: "MD5up".into(),
            propagated_tags: Vec::new(),
            tags: Vec::new(),
            client_token: None,
        };
        let store = create::create(&core, &permit, new).await?;
        let first_ms = core.now_ms().saturating_sub(count * APART_MS);
        Ok(Self { core, store, first_ms })
    }

    /// Makes the read sets of these numbers visible by one commit.
    async fn batch(&self, numbers: std::ops::Range<u64>) -> Result<()> {
        if numbers.start.is_multiple_of(SETTLED_EVERY) {
            self.core.vault().settle_packs().await?;
        }
        let mut named = Vec::new();
        for number in numbers {
            named.push((number, self.core.next_id("read_set", FIRST_READ_SET).await?.to_string()));
        }
        let made: Vec<(ReadSet, Staged)> = stream::iter(named)
            .map(|(number, id)| self.read_set(number, id))
            .buffered(FILES_AT_ONCE)
            .try_collect()
            .await?;
        let mut commit = Commit::new();
        let mut files = Vec::with_capacity(made.len());
        for (read_set, staged) in made {
            index::add(&mut commit, &read_set);
            files.push(staged);
        }
        let applied = self.core.commit(VaultCommit { commit, files, removes: Vec::new() }).await?;
        anyhow::ensure!(applied, "a commit without checks was refused");
        Ok(())
    }

    async fn read_set(&self, number: u64, id: String) -> Result<(ReadSet, Staged)> {
        let vault = self.core.vault();
        let item = vault.new_item(&self.store.store, ItemKind::ReadSet, SlotChoice::Own).await?;
        // A part is cut into chunks however short it is; other files of this length live in manifests.
        let spec = FileSpec::new(item.clone(), FileRole::Part, Metadata::None);
        let body = format!("@read {number}\nACGT\n+\nIIII\n");
        let bases = stream::iter([Ok(Bytes::from(body))]);
        let staged = vault.stage(spec, bases).await.context("a file can't be staged")?;
        let file = ReadSetFile {
            name: format!("run{number:08}_source1.fastq.gz"),
            file: staged.file().clone(),
            etag: format!("{number:032x}-1"),
            sha256: Some(format!("{number:064x}")),
            md5: Some(format!("{number:032x}")),
            crc64nvme: None,
        };
        let sample = number / PER_SAMPLE;
        let read_set = ReadSet {
            id,
            sequence_store: self.store.id.clone(),
            item,
            status: ReadSetStatus::Active,
            status_message: None,
            file_type: "FASTQ".into(),
            name: Some(format!("run{number:08}")),
            description: Some("filled for a measurement".into()),
            subject_id: format!("subject{:07}", sample / SAMPLES_PER_SUBJECT),
            sample_id: format!("sample{sample:08}"),
            generated_from: None,
            reference_arn: None,
            creation_type: "UPLOAD".into(),
            creation_job: None,
            created_ms: self.first_ms + number * APART_MS,
            tags: vec![("lane".into(), (number % 8).to_string())],
            files: ReadSetFiles { source1: file, source2: None, index: None },
            facts: Some(facts(number)),
        };
        Ok((read_set, staged))
    }
}

fn facts(number: u64) -> ReadSetFacts {
    ReadSetFacts {
        read_count: 1,
        base_count: 4,
        alignment: None,
        etag_algorithm: Some("FASTQ_MD5up".into()),
        etag_source1: Some(format!("{number:032x}")),
        etag_source2: None,
        summary: serde_json::json!({}),
    }
}
