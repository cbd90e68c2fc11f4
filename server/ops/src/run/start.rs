//! StartRun: everything that can be known to be wrong is refused here, before
//! anything is started.

use std::collections::BTreeMap;

use readvault_exec_protocol::agent::{AgentReply, AgentRequest, Language, RunResources};
use readvault_store::catalog::Commit;
use serde::Serialize;
use serde_json::{Value, value::RawValue};

use super::{
    FIRST_ID, Run, RunInput, RunOptions, RunSpecRow, RunStatus, RunWorkflow, Runs, live_row,
    parameters::{self, Expected, PARAMETERS_BYTES_MAX},
    row, spec_row,
    uri::{S3Uri, check_text},
};
use crate::{
    Fault, FaultKind,
    authorize::{Ask, Permit},
    bucket::{self, Bucket, BucketKind},
    core::{Stored, contended, encode, row_of},
    dispatch::start_job,
    fault::Result,
    idempotency::Once,
    identity::Caller,
    tables,
    workflow::{
        self, Workflow, WorkflowStatus,
        create::{check_storage, check_tags},
    },
};

/// Most bytes of what is kept of parameters and inputs.
const SPEC_BYTES_MAX: usize = 768 << 10;

/// What a caller says of a new run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StartRun {
    /// The workflow; may come from `source_run`.
    pub workflow_id: Option<String>,
    /// A run to take workflow, parameters and settings from.
    pub source_run: Option<String>,
    /// The role that it acts under.
    pub role_arn: String,
    /// Its name.
    pub name: Option<String>,
    /// Its parameters, as they came.
    pub parameters: Option<Box<RawValue>>,
    /// `s3://bucket[/prefix]`.
    pub output_uri: String,
    /// Its settings.
    pub options: RunOptions,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Idempotency token.
    #[serde(skip)]
    pub request_id: String,
}

/// A run as it was decided, before it has a row.
struct Decided {
    workflow: Stored<Workflow>,
    role: Caller,
    spec: RunSpecRow,
    output: S3Uri,
}

impl Runs {
    /// Checks everything that a run needs and makes it, `PENDING`, with the job that hands it to a node.
    /// Idempotent by its token. Durable when it returns; dropping the future may leave the run made.
    ///
    /// # Errors
    /// `InvalidArgument` that names what is wrong; `NotFound` for the workflow; `AccessDenied` for the
    /// role; `Conflict` for a token used for another request; those of the vault.
    pub async fn start(&self, permit: &Permit, request: StartRun) -> Result<Run> {
        let request = self.completed(request).await?;
        check_text("requestId", Some(&request.request_id), 128)?;
        let token = Once::new("StartRun", Some(&request.request_id), &request);
        if let Some(id) = token.earlier::<String>(self.core()).await? {
            return Ok(self.load(&id).await?.value);
        }
        let id = self.core().next_id("run", FIRST_ID).await?.to_string();
        let decided = self.decide(permit, &request, &id).await?;
        let version = decided.workflow.version;
        let (mut run, spec) = self.describe(permit, request, id, decided);
        let mut commit = Commit::new();
        commit.unchanged(workflow::row(&run.workflow.id), version);
        let job = start_job::enqueue(&self.parts.jobs, &mut commit, &run.id);
        run.job = Some(job);
        commit.absent(row(&run.id)).put(row(&run.id), encode(&run));
        commit.put(spec_row(&run.id), encode(&spec));
        commit.put(live_row(&run.id), encode(&run.workflow.id));
        commit.put(row_of(tables::RUN_UUIDS, &[&run.uuid.to_string()]), encode(&run.id));
        token.keep(self.core(), &mut commit, &run.id);
        if self.core().commit(commit).await? {
            self.parts.jobs.wake(job);
            return Ok(run);
        }
        // The token was taken meanwhile by the same request sent twice, or the workflow changed.
        match token.earlier::<String>(self.core()).await? {
            Some(id) => Ok(self.load(&id).await?.value),
            None => Err(contended()),
        }
    }

    /// The request with what it takes from the run that it copies.
    async fn completed(&self, mut request: StartRun) -> Result<StartRun> {
        let Some(source) = &request.source_run else { return Ok(request) };
        let run = self.load(source).await?.value;
        request.workflow_id.get_or_insert(run.workflow.id);
        request.name = request.name.or(run.name);
        if request.parameters.is_none() {
            let text = self.load_spec(source).await?.parameters;
            request.parameters = RawValue::from_string(text).ok();
        }
        let (given, old) = (&mut request.options, run.options);
        given.priority = given.priority.or(old.priority);
        given.storage_type = given.storage_type.take().or(old.storage_type);
        given.storage_capacity = given.storage_capacity.or(old.storage_capacity);
        given.log_level = given.log_level.take().or(old.log_level);
        given.retention_mode = given.retention_mode.take().or(old.retention_mode);
        given.scratch_storage_mode = given.scratch_storage_mode.take().or(old.scratch_storage_mode);
        Ok(request)
    }

    async fn decide(&self, permit: &Permit, request: &StartRun, id: &str) -> Result<Decided> {
        check_request(request)?;
        let Some(workflow_id) = &request.workflow_id else {
            return Err(Fault::invalid("give workflowId or runId"));
        };
        let site = self.core().site();
        let asks = [
            Ask::new("omics:StartRun", workflow::arn(site, workflow_id)),
            Ask::new("iam:PassRole", request.role_arn.clone()),
        ];
        self.parts.authorizer.authorize(permit.caller(), &asks)?;
        let role = self.parts.identity.assume(&request.role_arn, &format!("run-{id}"))?;
        let workflow = self.parts.workflows.load(workflow_id).await?;
        self.check_workflow(&workflow.value).await?;
        let text = request.parameters.as_ref().map_or("{}", |raw| raw.get());
        if text.len() > PARAMETERS_BYTES_MAX {
            return Err(Fault::invalid("parameters are above 256 KiB"));
        }
        let given: Value = serde_json::from_str(text)
            .map_err(|_| Fault::invalid("parameters are not JSON that this vault can keep"))?;
        let expected = Expected {
            template: workflow.value.template.as_ref(),
            file_use: &workflow.value.file_use,
            entry: workflow.value.entry.as_deref(),
        };
        let extracted = parameters::extract(&given, expected)?;
        let inputs = self.resolve(&role, &extracted.uris).await?;
        let output = self.check_output(&role, &request.output_uri, id).await?;
        let spec = RunSpecRow {
            parameters: text.to_owned(),
            engine_parameters: extracted.parameters,
            inputs,
        };
        if encode(&spec).len() > SPEC_BYTES_MAX {
            return Err(Fault::invalid("the run has too many parameters and inputs for one run"));
        }
        Ok(Decided { workflow, role, spec, output })
    }

    /// Refuses a workflow that can't be run, or not here.
    async fn check_workflow(&self, workflow: &Workflow) -> Result<()> {
        let WorkflowStatus::Active = workflow.status else {
            return Err(Fault::invalid(format!("the workflow {} is FAILED", workflow.id)));
        };
        let engine = workflow.engine.ok_or_else(|| Fault::internal("internal error"))?;
        let has = match self.parts.dispatch.ask(AgentRequest::Images).await {
            Ok(AgentReply::Images { engines, .. }) => {
                engines.iter().any(|(language, _)| *language == engine.language())
            }
            // The node is not at hand: WDL runs wait for it.
            _ => engine.language() == Language::Wdl,
        };
        if has {
            return Ok(());
        }
        Err(Fault::invalid(format!(
            "this vault has no engine for {} workflows; an administrator adds one by \
             `readvaultd engine add`",
            engine.as_str()
        )))
    }

    /// The bucket must exist and take objects, under the run's own prefix, by the role.
    async fn check_output(&self, role: &Caller, uri: &str, id: &str) -> Result<S3Uri> {
        let invalid = |reason: &str| Fault::invalid(format!("outputUri: {reason}"));
        let output = S3Uri::parse_prefix(uri.trim_end_matches('/')).map_err(invalid)?;
        let output = prefixed(output, id);
        let ask = Ask::new("s3:PutObject", format!("{}/*", output.arn()));
        self.parts
            .authorizer
            .authorize(role, &[ask])
            .map_err(|_| invalid("the run's role may not write there"))?;
        let found = self.core().load::<Bucket>(&bucket::row(&output.bucket)).await?;
        match found.map(|stored| stored.value.kind) {
            Some(BucketKind::Objects { .. }) => Ok(output),
            Some(BucketKind::ReadSets { .. }) => {
                Err(invalid("the bucket is the read-only view of a sequence store"))
            }
            None => Err(invalid("there is no such bucket")),
        }
    }

    fn describe(
        &self,
        permit: &Permit,
        request: StartRun,
        id: String,
        decided: Decided,
    ) -> (Run, RunSpecRow) {
        let workflow = decided.workflow.value;
        let site = self.core().site();
        let mut options = request.options;
        options.storage_type =
            options.storage_type.or(workflow.storage_type).or(Some("DYNAMIC".into()));
        options.storage_capacity = options.storage_capacity.or(workflow.storage_capacity);
        tracing::info!(run = id, caller = decided.role.arn(site), "a run was accepted");
        let run = Run {
            uuid: self.core().uuid(),
            name: request.name,
            status: RunStatus::Pending,
            status_message: None,
            failure_reason: None,
            workflow: RunWorkflow {
                id: workflow.id,
                uuid: workflow.uuid,
                name: workflow.name,
                engine: workflow.engine.expect("only a workflow with an engine is run"),
                main: workflow.main.expect("an active workflow has a main file"),
                sha256: workflow.definition.sha256,
                definition: workflow.definition.file,
            },
            source_run: request.source_run,
            role_arn: request.role_arn,
            output_uri: request.output_uri,
            run_output_uri: format!("s3://{}/{}", decided.output.bucket, decided.output.key),
            started_by: permit.caller().arn(site),
            tags: request.tags,
            images: BTreeMap::new(),
            resources: allocation(self.parts.settings.resources, &options),
            options,
            created_ms: self.core().now_ms(),
            started_ms: None,
            stopped_ms: None,
            attempt: 0,
            token_sha256: None,
            job: None,
            cancel_requested: false,
            engine_digest: None,
            engine_version: None,
            scratch_peak_bytes: None,
            id,
        };
        (run, decided.spec)
    }

    /// A permit of the run's role for all that the run may read and write.
    pub(crate) fn role_permit(&self, run: &Run, inputs: &[RunInput]) -> Result<Permit> {
        let role = self.parts.identity.assume(&run.role_arn, &format!("run-{}", run.id))?;
        let output = S3Uri::parse_prefix(&run.run_output_uri)
            .map_err(|reason| Fault::new(FaultKind::Corrupt, reason))?;
        let mut asks: Vec<_> = inputs.iter().map(RunInput::ask).collect();
        asks.push(Ask::new("s3:PutObject", format!("{}/*", output.arn())));
        self.parts.authorizer.authorize(&role, &asks)
    }
}

/// `output` with the run's own prefix.
fn prefixed(mut output: S3Uri, id: &str) -> S3Uri {
    if !output.key.is_empty() {
        output.key.push('/');
    }
    output.key.push_str(id);
    output
}

/// A static run may ask for less storage than the node gives.
fn allocation(default: RunResources, options: &RunOptions) -> RunResources {
    let asked = options.storage_capacity.filter(|gib| *gib > 0).map(|gib| u64::from(gib) << 30);
    let asked = asked.filter(|_| options.storage_type.as_deref() == Some("STATIC"));
    let scratch_bytes = asked.map_or(default.scratch_bytes, |a| a.min(default.scratch_bytes));
    RunResources { scratch_bytes, ..default }
}

fn check_request(request: &StartRun) -> Result<()> {
    check_text("name", request.name.as_deref(), 128)?;
    check_text("outputUri", Some(&request.output_uri), 750)?;
    check_text("roleArn", Some(&request.role_arn), 2048)?;
    check_tags(&request.tags)?;
    let options = &request.options;
    check_storage(options.storage_type.as_deref(), options.storage_capacity)?;
    let one_of = |what: &str, value: &Option<String>, words: &[&str]| match value {
        Some(value) if !words.contains(&value.as_str()) => {
            Err(Fault::invalid(format!("{what} must be one of {}", words.join(", "))))
        }
        _ => Ok(()),
    };
    one_of("logLevel", &options.log_level, &["OFF", "FATAL", "ERROR", "ALL"])?;
    one_of("retentionMode", &options.retention_mode, &["RETAIN", "REMOVE"])?;
    one_of("scratchStorageMode", &options.scratch_storage_mode, &["SHARED", "LOCAL"])?;
    if options.priority.is_some_and(|priority| priority > 100_000) {
        return Err(Fault::invalid("priority must be at most 100,000"));
    }
    Ok(())
}
