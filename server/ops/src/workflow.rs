//! Workflows: rows and life cycle. The operations are in files of their own below `workflow/`.
//!
//! A definition is kept as the zip that came, sealed, in a store of the server's own; it is checked
//! before it is kept and unpacked only in a run's sandbox.

pub mod create;
pub mod definition;
pub mod delete;
pub mod documents;
pub mod entry;
pub mod list;
pub mod update;
pub mod wdl;

use std::{collections::BTreeMap, sync::Arc};

use readvault_exec_protocol::agent::Language;
use readvault_store::{
    catalog::RowKey,
    vault::{FileRef, Item, VaultCommit},
};
use serde::{Deserialize, Serialize};

use crate::{
    Fault,
    authorize::{Authorizer, Permit},
    core::{Core, Site, Stored, row_of},
    fault::Result,
    kept::{self, Owner},
    run::objects::ObjectAccess,
    tables,
};
pub use wdl::FileUse;

/// First number of a workflow.
pub(crate) const FIRST_ID: u64 = 1_000_000;

/// A workflow, as its row holds it. Key: its id. Its definition never changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workflow {
    /// Its number: seven digits or more.
    pub id: String,
    /// Its UUID, never used again.
    pub uuid: uuid::Uuid,
    /// Its name.
    pub name: Option<String>,
    /// What it does.
    pub description: Option<String>,
    /// Where it stands.
    pub status: WorkflowStatus,
    /// Why, for people.
    pub status_message: Option<String>,
    /// What runs it, once known.
    pub engine: Option<Engine>,
    /// Path of the main file in the definition zip, once known.
    pub main: Option<String>,
    /// Its definition.
    pub definition: StoredDefinition,
    /// Parameters that a run may and must give; none = not checked.
    pub template: Option<BTreeMap<String, Parameter>>,
    /// How texts of each parameter are used, as far as the definition says.
    pub file_use: BTreeMap<String, FileUse>,
    /// Name of the workflow inside its main file; parameters may be qualified by it.
    pub entry: Option<String>,
    /// README, Markdown.
    pub readme: Option<String>,
    /// `STATIC` or `DYNAMIC`: the default of its runs.
    pub storage_type: Option<String>,
    /// GiB: the default of its runs.
    pub storage_capacity: Option<u32>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Milliseconds since 1970 at which it was made.
    pub created_ms: u64,
}

/// A definition zip, sealed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredDefinition {
    /// Its item.
    pub item: Item,
    /// The zip as it came.
    pub file: FileRef,
    /// SHA-256 of the zip, hexadecimal: the workflow's digest.
    pub sha256: String,
}

/// One parameter of a workflow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether a run may leave it out.
    #[serde(default)]
    pub optional: bool,
}

/// Life of a workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum WorkflowStatus {
    /// Runs can be started.
    Active,
    /// The definition is not usable; the message says why.
    Failed,
}

impl WorkflowStatus {
    /// The word of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Failed => "FAILED",
        }
    }
}

/// What runs a workflow, as HealthOmics names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Engine {
    /// WDL.
    #[serde(rename = "WDL")]
    Wdl,
    /// WDL with Cromwell's coercions.
    #[serde(rename = "WDL_LENIENT")]
    WdlLenient,
    /// CWL.
    #[serde(rename = "CWL")]
    Cwl,
    /// Nextflow.
    #[serde(rename = "NEXTFLOW")]
    Nextflow,
}

impl Engine {
    /// The word of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wdl => "WDL",
            Self::WdlLenient => "WDL_LENIENT",
            Self::Cwl => "CWL",
            Self::Nextflow => "NEXTFLOW",
        }
    }

    /// The engine that `word` of the API names.
    ///
    /// # Errors
    /// `InvalidArgument` for any other word.
    pub fn parse(word: &str) -> Result<Self> {
        [Self::Wdl, Self::WdlLenient, Self::Cwl, Self::Nextflow]
            .into_iter()
            .find(|engine| engine.as_str() == word)
            .ok_or_else(|| Fault::invalid("engine must be WDL, WDL_LENIENT, CWL or NEXTFLOW"))
    }

    /// The language that a node needs an engine for.
    #[must_use]
    pub fn language(self) -> Language {
        match self {
            Self::Wdl | Self::WdlLenient => Language::Wdl,
            Self::Cwl => Language::Cwl,
            Self::Nextflow => Language::Nextflow,
        }
    }

    /// The end of the names of its files.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Wdl | Self::WdlLenient => ".wdl",
            Self::Cwl => ".cwl",
            Self::Nextflow => ".nf",
        }
    }
}

impl Workflow {
    /// Its ARN.
    #[must_use]
    pub fn arn(&self, site: &Site) -> String {
        arn(site, &self.id)
    }

    /// Adds to `commit`, which writes this row, the copy by which a rebuild knows it again.
    pub(crate) async fn keep(&self, core: &Core, commit: &mut VaultCommit) -> Result<()> {
        let (rows, taken) = ([row(&self.id)], [("workflow", self.id.as_str())]);
        kept::keep(core, commit, Owner::item(&self.definition.item), (&rows, &taken)).await
    }
}

/// The ARN of workflow `id`.
#[must_use]
pub fn arn(site: &Site, id: &str) -> String {
    site.arn("omics", &format!("workflow/{id}"))
}

/// The row of workflow `id`.
#[must_use]
pub fn row(id: &str) -> RowKey {
    row_of(tables::WORKFLOWS, &[id])
}

/// The operations on workflows. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Workflows {
    pub(crate) core: Core,
    pub(crate) authorizer: Authorizer,
    pub(crate) objects: Arc<dyn ObjectAccess>,
}

impl Workflows {
    /// The workflows of `core`; definitions named by `s3://` are read through `objects`.
    #[must_use]
    pub fn new(core: Core, authorizer: Authorizer, objects: Arc<dyn ObjectAccess>) -> Self {
        Self { core, authorizer, objects }
    }

    /// The workflow `id`.
    ///
    /// # Errors
    /// `NotFound`; those of the catalog.
    pub async fn get(&self, _permit: &Permit, id: &str) -> Result<Workflow> {
        Ok(self.load(id).await?.value)
    }

    pub(crate) async fn load(&self, id: &str) -> Result<Stored<Workflow>> {
        let found = self.core.load(&row(id)).await?;
        found.ok_or_else(|| Fault::not_found(format!("there is no workflow {id:?}")))
    }

    /// Bytes of the definition zip of workflow `id`, whole: at most [`definition::ZIP_BYTES_MAX`].
    ///
    /// # Errors
    /// `NotFound`; those of the vault.
    pub async fn definition(&self, _permit: &Permit, id: &str) -> Result<bytes::Bytes> {
        let workflow = self.load(id).await?.value;
        let reader = self.core.vault().open_file(&workflow.definition.file).await?;
        documents::read_whole(&reader).await
    }
}
