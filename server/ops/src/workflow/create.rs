//! CreateWorkflow.

use std::collections::BTreeMap;

use bytes::Bytes;
use readvault_store::{
    catalog::Commit,
    vault::{FileRole, FileSpec, ItemKind, Metadata, SlotChoice, VaultCommit},
};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{
    Engine, FIRST_ID, Parameter, StoredDefinition, Workflow, WorkflowStatus, Workflows,
    definition::{self, Definition, ZIP_BYTES_MAX},
    documents, entry, row,
};
use crate::{
    Fault,
    authorize::{Ask, Permit},
    core::encode,
    fault::Result,
    idempotency::Once,
    run::uri::{S3Uri, check_text},
};

/// Most entries of a parameter template.
pub const TEMPLATE_ENTRIES_MAX: usize = 2000;

/// Most bytes of a README.
pub const README_BYTES_MAX: usize = 500 << 10;

/// What a caller says of a new workflow.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CreateWorkflow {
    /// Its name.
    pub name: Option<String>,
    /// What it does.
    pub description: Option<String>,
    /// What runs it; found out when absent.
    pub engine: Option<Engine>,
    /// The zip; exactly one of this and `definition_uri`.
    #[serde(skip)]
    pub definition_zip: Option<Bytes>,
    /// `s3://…` of the zip.
    pub definition_uri: Option<String>,
    /// Path of the main file in the zip; found out when absent.
    pub main: Option<String>,
    /// Its parameters; read from the main file when absent.
    pub template: Option<BTreeMap<String, Parameter>>,
    /// `STATIC` or `DYNAMIC`.
    pub storage_type: Option<String>,
    /// GiB.
    pub storage_capacity: Option<u32>,
    /// README, Markdown.
    pub readme: Option<String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Idempotency token.
    #[serde(skip)]
    pub request_id: String,
}

/// What a request is compared by when its token comes again.
#[derive(Serialize)]
struct Request<'a> {
    request: &'a CreateWorkflow,
    zip: Option<String>,
}

impl Workflows {
    /// Checks a definition and keeps it as a new workflow. Idempotent by its token. Durable when it
    /// returns; dropping the future may leave the workflow made.
    ///
    /// A zip that is unsafe is refused and nothing is kept; one that is safe but not usable becomes a
    /// workflow that is `FAILED` and says why.
    ///
    /// # Errors
    /// `InvalidArgument`; `NoSuchKey` and `NoSuchBucket` for the URI; `Conflict` for a token used for
    /// another request; those of the vault.
    pub async fn create(&self, permit: &Permit, request: CreateWorkflow) -> Result<Workflow> {
        check_request(&request)?;
        let zip = request.definition_zip.as_deref().map(|zip| hex::encode(Sha256::digest(zip)));
        let compared = Request { request: &request, zip };
        check_text("requestId", Some(&request.request_id), 128)?;
        let token = Once::new("CreateWorkflow", Some(&request.request_id), &compared);
        if let Some(id) = token.earlier::<String>(&self.core).await? {
            return Ok(self.load(&id).await?.value);
        }
        let zip = match (&request.definition_zip, &request.definition_uri) {
            (Some(zip), _) => zip.clone(),
            (None, Some(uri)) => self.fetch(permit, uri).await?,
            (None, None) => return Err(no_definition()),
        };
        let checked = zip.clone();
        let definition = tokio::task::spawn_blocking(move || definition::check(&checked))
            .await
            .map_err(|cause| Fault::internal("internal error").because(cause))?
            .map_err(|refusal| Fault::invalid(refusal.to_string()))?;
        self.keep(request, zip, definition, &token).await
    }

    async fn keep(
        &self,
        request: CreateWorkflow,
        zip: Bytes,
        definition: Definition,
        token: &Once,
    ) -> Result<Workflow> {
        let vault = self.core.vault();
        let store = documents::store(&self.core).await?;
        let item = vault.new_item(&store, ItemKind::Document, SlotChoice::Own).await?;
        let id = self.core.next_id("workflow", FIRST_ID).await?.to_string();
        let spec = FileSpec::new(item.clone(), FileRole::Object, Metadata::None);
        let sha256 = hex::encode(Sha256::digest(&zip));
        let staged = self.core.stage(spec, futures::stream::iter([Ok(zip)])).await?;
        let stored = StoredDefinition { item, file: staged.file().clone(), sha256 };
        let workflow = self.describe(request, &definition, stored, id);
        let mut commit = Commit::new();
        commit.absent(row(&workflow.id)).put(row(&workflow.id), encode(&workflow));
        token.keep(&self.core, &mut commit, &workflow.id);
        let mut commit = VaultCommit { commit, files: vec![staged], removes: Vec::new() };
        workflow.keep(&self.core, &mut commit).await?;
        if self.core.commit(commit).await? {
            return Ok(workflow);
        }
        // Only the token can have been taken meanwhile: by the same request, sent twice at once.
        match token.earlier::<String>(&self.core).await? {
            Some(id) => Ok(self.load(&id).await?.value),
            None => Err(crate::core::contended()),
        }
    }

    fn describe(
        &self,
        request: CreateWorkflow,
        definition: &Definition,
        stored: StoredDefinition,
        id: String,
    ) -> Workflow {
        let found = entry::find(definition, request.engine, request.main.as_deref());
        let mut workflow = Workflow {
            id,
            uuid: self.core.uuid(),
            name: request.name,
            description: request.description,
            status: WorkflowStatus::Active,
            status_message: None,
            engine: request.engine,
            main: request.main,
            definition: stored,
            template: request.template,
            file_use: BTreeMap::new(),
            entry: None,
            readme: request.readme,
            storage_type: request.storage_type,
            storage_capacity: request.storage_capacity,
            tags: request.tags,
            created_ms: self.core.now_ms(),
        };
        match found {
            Ok(entry) => {
                workflow.engine = Some(entry.engine);
                workflow.main = Some(entry.main);
                workflow.entry = entry.name;
                workflow.file_use = entry.file_use;
                workflow.template = workflow.template.or(entry.template);
            }
            Err(reason) => {
                workflow.status = WorkflowStatus::Failed;
                workflow.status_message = Some(reason);
            }
        }
        workflow
    }

    /// The zip at `uri`, read as the caller.
    async fn fetch(&self, permit: &Permit, uri: &str) -> Result<Bytes> {
        let uri = S3Uri::parse(uri)
            .map_err(|reason| Fault::invalid(format!("definitionUri: {reason}")))?;
        let asks = [Ask::new("s3:GetObject", uri.arn())];
        let permit = self.authorizer.authorize(permit.caller(), &asks)?;
        let object = self.objects.locate(&permit, &uri.bucket, &uri.key).await?;
        if object.file.length > ZIP_BYTES_MAX as u64 {
            return Err(Fault::invalid("definitionUri: the zip is above 100 MiB"));
        }
        let reader = self.core.vault().open_file(&object.file).await?;
        documents::read_whole(&reader).await
    }
}

fn no_definition() -> Fault {
    Fault::invalid("give exactly one of definitionZip and definitionUri")
}

fn check_request(request: &CreateWorkflow) -> Result<()> {
    if request.definition_zip.is_some() == request.definition_uri.is_some() {
        return Err(no_definition());
    }
    check_text("name", request.name.as_deref(), 128)?;
    check_text("description", request.description.as_deref(), 256)?;
    check_text("main", request.main.as_deref(), 128)?;
    check_text("definitionUri", request.definition_uri.as_deref(), 256)?;
    check_storage(request.storage_type.as_deref(), request.storage_capacity)?;
    check_tags(&request.tags)?;
    if request.readme.as_ref().is_some_and(|readme| readme.len() > README_BYTES_MAX) {
        return Err(Fault::invalid("readmeMarkdown is above 500 KiB"));
    }
    let Some(template) = &request.template else { return Ok(()) };
    if template.is_empty() || template.len() > TEMPLATE_ENTRIES_MAX {
        return Err(Fault::invalid("parameterTemplate must have 1 to 2,000 entries"));
    }
    for (name, parameter) in template {
        check_text("a name in parameterTemplate", Some(name), 128)?;
        if parameter.description.as_ref().is_some_and(|text| text.chars().count() > 256) {
            return Err(Fault::invalid(
                "a description in parameterTemplate is above 256 characters",
            ));
        }
    }
    Ok(())
}

pub(crate) fn check_storage(storage_type: Option<&str>, capacity: Option<u32>) -> Result<()> {
    if !matches!(storage_type, None | Some("STATIC" | "DYNAMIC")) {
        return Err(Fault::invalid("storageType must be STATIC or DYNAMIC"));
    }
    if capacity.is_some_and(|gib| gib > 100_000) {
        return Err(Fault::invalid("storageCapacity must be at most 100,000"));
    }
    Ok(())
}

/// Refuses tags that are not legal: at most 50, keys and values within the API's lengths.
pub(crate) fn check_tags(tags: &BTreeMap<String, String>) -> Result<()> {
    if tags.len() > 50 {
        return Err(Fault::invalid("a resource has at most 50 tags"));
    }
    for (key, value) in tags {
        let length = key.chars().count();
        if length == 0 || length > 128 || value.chars().count() > 256 {
            return Err(Fault::invalid(
                "a tag's key has 1 to 128 characters and its value at most 256",
            ));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(Fault::invalid("keys of tags can't begin with aws:"));
        }
    }
    Ok(())
}
