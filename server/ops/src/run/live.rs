//! What is held of a run while its processes speak to this server. Made again from its rows after a
//! restart; outputs that were staged and not committed are staged again by the run.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
    },
};

use parking_lot::Mutex;
use readvault_exec_protocol::{run::RunSpec, source::SourceError};
use readvault_store::{
    ids::ManifestId,
    vault::{FileReader, FileRef},
};

use super::{Run, RunInput, Runs, objects::PendingObject};
use crate::{Fault, FaultKind, authorize::Permit, dispatch::token_digest, fault::Result, run_log};

/// A run whose processes may ask.
#[derive(Debug)]
pub(crate) struct LiveRun {
    /// Its number.
    pub(crate) id: String,
    /// SHA-256 of the token that opens it, hexadecimal.
    pub(crate) token_sha256: String,
    /// What its processes are told.
    pub(crate) spec: RunSpec,
    /// Its definition zip.
    pub(crate) definition: FileRef,
    /// Its inputs, in order of index.
    pub(crate) inputs: Vec<RunInput>,
    /// Its role's permit.
    pub(crate) permit: Permit,
    /// Where its outputs go.
    pub(crate) run_output_uri: String,
    /// Readers of what was opened, by manifest.
    pub(crate) readers: Mutex<HashMap<ManifestId, FileReader>>,
    /// Outputs that are staged, by path.
    pub(crate) outputs: Mutex<BTreeMap<String, PendingObject>>,
    /// Numbers of its tasks.
    pub(crate) tasks: Mutex<HashMap<uuid::Uuid, String>>,
    /// Accesses that are recorded: task, input, and whether it was opened (else bound).
    pub(crate) accesses: Mutex<HashSet<(uuid::Uuid, u32, bool)>>,
    /// Bytes of its logs so far.
    pub(crate) log_bytes: AtomicU64,
    /// Whether its logs are full.
    pub(crate) log_full: AtomicBool,
}

impl Runs {
    /// The lock under which a run's row is decided on. One process owns the catalog, so this lock and the
    /// checks of commits agree; it keeps a commit of outputs from losing a race that would void them.
    pub(crate) fn lock(&self, id: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock();
        if locks.len() > 1024 {
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        }
        locks.entry(id.to_owned()).or_default().clone()
    }

    /// Forgets what is held of run `id`: its token opens nothing any more, and what it staged is void.
    pub(crate) fn forget(&self, id: &str) {
        self.live.lock().remove(id);
    }

    /// The run that `token` opens.
    pub(crate) async fn authenticate(&self, token: &str) -> Result<Arc<LiveRun>, SourceError> {
        let revoked = || SourceError::Revoked("the token opens no run".into());
        let (id, _) = token.split_once('.').ok_or_else(revoked)?;
        if id.is_empty() || id.len() > 18 || !id.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(revoked());
        }
        let digest = token_digest(token);
        let held = self.live.lock().get(id).cloned();
        let live = match held {
            Some(live) => live,
            None => self.revive(id).await?.ok_or_else(revoked)?,
        };
        if live.token_sha256 != digest {
            return Err(revoked());
        }
        if !live.permit.live() {
            return Err(SourceError::Revoked("the run's role may no longer do this".into()));
        }
        Ok(live)
    }

    /// Makes the live run again from its rows; none when it has ended or has no token.
    async fn revive(&self, id: &str) -> Result<Option<Arc<LiveRun>>, SourceError> {
        let run = match self.load(id).await {
            Ok(stored) => stored.value,
            Err(fault) if fault.kind == FaultKind::NotFound => return Ok(None),
            Err(fault) => return Err(unavailable(&fault)),
        };
        let Some(token_sha256) = run.token_sha256.clone() else { return Ok(None) };
        if run.status.is_terminal() {
            return Ok(None);
        }
        let rows = self.load_spec(id).await.map_err(|fault| unavailable(&fault))?;
        let permit = self
            .role_permit(&run, &rows.inputs)
            .map_err(|fault| SourceError::Revoked(fault.message.into_owned()))?;
        let tasks = self.task_numbers(id).await.map_err(|fault| unavailable(&fault))?;
        let log_bytes =
            run_log::bytes_of_run(self.core(), id).await.map_err(|fault| unavailable(&fault))?;
        let spec = self.protocol_spec(&run, rows.engine_parameters, &rows.inputs);
        let live = Arc::new(LiveRun {
            id: run.id.clone(),
            token_sha256,
            spec,
            definition: run.workflow.definition.clone(),
            inputs: rows.inputs,
            permit,
            run_output_uri: run.run_output_uri,
            readers: Mutex::default(),
            outputs: Mutex::default(),
            tasks: Mutex::new(tasks),
            accesses: Mutex::default(),
            log_full: AtomicBool::new(log_bytes >= self.parts.settings.log_bytes_max),
            log_bytes: AtomicU64::new(log_bytes),
        });
        // Two connections may get here at once; the first one's state is everybody's.
        Ok(Some(self.live.lock().entry(run.id).or_insert(live).clone()))
    }

    fn protocol_spec(
        &self,
        run: &Run,
        parameters: serde_json::Value,
        inputs: &[RunInput],
    ) -> RunSpec {
        let site = self.core().site();
        RunSpec {
            run: run.uuid,
            run_id: run.id.clone(),
            run_arn: run.arn(site),
            region: site.region.clone(),
            language: run.workflow.engine.language(),
            main: run.workflow.main.clone(),
            definition_bytes: run.workflow.definition.length,
            definition_sha256: run.workflow.sha256.clone(),
            parameters,
            inputs: inputs.iter().map(|input| input.spec(self.parts.settings.staging)).collect(),
            resources: run.resources,
            images: Vec::new(),
        }
    }
}

/// A fault of this server, in the words of the conversation.
pub(crate) fn unavailable(fault: &Fault) -> SourceError {
    match fault.kind {
        FaultKind::Corrupt => SourceError::Revoked(format!("SERVICE_ERROR: {fault}")),
        FaultKind::KeyUnavailable => SourceError::Revoked(format!("IMPORT_FAILED: {fault}")),
        FaultKind::InvalidArgument => SourceError::Invalid(fault.to_string()),
        _ => SourceError::Unavailable(fault.to_string()),
    }
}
