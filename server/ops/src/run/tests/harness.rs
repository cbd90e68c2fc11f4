//! A vault in memory with a bucket, a workflow and a node whose agent and supervisors are this test.

use std::{
    io::{Cursor, Write},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use readvault_ambient::System;
use readvault_exec_protocol::agent::{
    AgentReply, AgentRequest, ImageRecord, Language, RunResources, RunTicket,
};
use readvault_store::testing::vault;
use serde_json::value::RawValue;
use uuid::Uuid;
use zip::{ZipWriter, write::SimpleFileOptions};

use crate::{
    authorize::{Ask, Authorizer, Permit},
    body::Body,
    bucket::{Buckets, create::NewBucket},
    core::{Core, Site},
    dispatch::{DispatchError, RunDispatch, start_job::StartRunJob},
    fault::Result,
    identity::{Caller, Identity, Principal, RootCredentials, SecretKey},
    jobs::Jobs,
    object::{Objects, put::PutObject},
    run::{Run, RunParts, RunSettings, RunStatus, Runs, start::StartRun},
    workflow::{Workflow, Workflows, create::CreateWorkflow},
};

pub(super) const INPUT: &[u8] = b"@read\nACGT\n+\nIIII\n";

const WDL: &str = "version 1.0\n\
    workflow w { input { File reads String label Int n = 1 } output { File o = t.o } }\n";

/// The agent of a node that starts nothing: the test speaks for its supervisors.
#[derive(Debug, Default)]
pub(super) struct FakeAgent {
    pub(super) tickets: Mutex<Vec<RunTicket>>,
    pub(super) runs: Mutex<Vec<Uuid>>,
    pub(super) cancelled: Mutex<Vec<Uuid>>,
    pub(super) refuses: Mutex<Option<String>>,
}

#[async_trait]
impl RunDispatch for FakeAgent {
    async fn ask(&self, request: AgentRequest) -> Result<AgentReply, DispatchError> {
        Ok(match request {
            AgentRequest::Start(ticket) => {
                if let Some(reason) = self.refuses.lock().clone() {
                    return Ok(AgentReply::Refused { reason });
                }
                self.runs.lock().push(ticket.run);
                self.tickets.lock().push(*ticket);
                AgentReply::Done
            }
            AgentRequest::Cancel { run, .. } => {
                self.cancelled.lock().push(run);
                AgentReply::Done
            }
            AgentRequest::List => AgentReply::Runs { runs: self.runs.lock().clone() },
            AgentRequest::Images => {
                let record = ImageRecord {
                    name: "engine-wdl:current".into(),
                    digest: "sha256:00".into(),
                    config_digest: "sha256:01".into(),
                    bytes: 1,
                };
                AgentReply::Images { images: Vec::new(), engines: vec![(Language::Wdl, record)] }
            }
            _ => AgentReply::Refused { reason: "not in this test".into() },
        })
    }
}

/// All of it.
pub(super) struct Harness {
    pub(super) runs: Runs,
    pub(super) agent: Arc<FakeAgent>,
    pub(super) objects: Objects,
    pub(super) permit: Permit,
    pub(super) workflow: Workflow,
    parts: RunParts,
    worker: tokio::task::JoinHandle<()>,
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

pub(super) fn zip_of(name: &str, text: &str) -> bytes::Bytes {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file(name, SimpleFileOptions::default()).unwrap();
    writer.write_all(text.as_bytes()).unwrap();
    writer.finish().unwrap().into_inner().into()
}

impl Harness {
    pub(super) async fn new() -> Self {
        let site = Site { account: "123456789012".into(), region: "us-east-1".into() };
        let core = Core::new(vault().await, site.clone(), Arc::new(System), Arc::new(System));
        let root = RootCredentials { access_key: "AK".into(), secret: SecretKey::new("S".into()) };
        let identity = Identity::new(site, root);
        let authorizer = Authorizer::default();
        let caller = Caller { principal: Principal::Root, ..Caller::anonymous() };
        let permit = authorizer.authorize(&caller, &[Ask::new("omics:StartRun", "*")]).unwrap();
        let objects = Objects::new(Buckets::new(core.clone()), crate::object::Settings::default());
        for name in ["inputs", "results"] {
            let new = NewBucket { name: name.into(), tags: Vec::new(), drop_of: None };
            objects.buckets().create(&permit, new).await.unwrap();
        }
        let target =
            PutObject { bucket: "inputs".into(), key: "a/r.fq".into(), ..PutObject::default() };
        let body = Body::from_bytes(INPUT.into());
        objects.put(&permit, target, body).await.unwrap();
        let workflows = Workflows::new(core.clone(), authorizer.clone(), Arc::new(objects.clone()));
        let request = CreateWorkflow {
            definition_zip: Some(zip_of("w.wdl", WDL)),
            name: Some("w".into()),
            request_id: "create".into(),
            ..CreateWorkflow::default()
        };
        let workflow = workflows.create(&permit, request).await.unwrap();
        let agent = Arc::new(FakeAgent::default());
        let parts = RunParts {
            jobs: Jobs::new(core.clone()),
            core,
            identity,
            authorizer,
            workflows,
            dispatch: agent.clone(),
            settings: RunSettings {
                resources: RunResources {
                    cpus: 1,
                    memory_bytes: 1 << 30,
                    scratch_bytes: 1 << 30,
                    seconds_max: 60,
                },
                staging: readvault_exec_protocol::run::Staging::Auto,
                server_socket: "/nowhere".into(),
                log_bytes_max: 1000,
            },
        };
        let runs = Runs::new(parts.clone());
        let worker = work(&parts, &runs);
        Self { runs, agent, objects, permit, workflow, parts, worker }
    }

    /// The same catalog under a server that was just started.
    pub(super) async fn restart(&mut self) {
        self.worker.abort();
        self.parts.jobs = Jobs::new(self.parts.core.clone());
        self.runs = Runs::new(self.parts.clone());
        self.parts.jobs.resume().await.unwrap();
        self.worker = work(&self.parts, &self.runs);
    }

    pub(super) fn request(&self, parameters: &str) -> StartRun {
        StartRun {
            workflow_id: Some(self.workflow.id.clone()),
            role_arn: self.parts.identity.run_role_arn(),
            parameters: RawValue::from_string(parameters.into()).ok(),
            output_uri: "s3://results/p/".into(),
            request_id: self.parts.core.uuid().to_string(),
            ..StartRun::default()
        }
    }

    /// A run that its node has accepted, and the ticket's token.
    pub(super) async fn started(&self) -> (Run, String) {
        let request = self.request(r#"{"reads": "s3://inputs/a/r.fq", "label": "x"}"#);
        let run = self.runs.start(&self.permit, request).await.unwrap();
        let ticket = self.ticket_of(run.uuid).await;
        (run, ticket.token)
    }

    pub(super) async fn ticket_of(&self, run: Uuid) -> RunTicket {
        for _ in 0..500 {
            let tickets = self.agent.tickets.lock().clone();
            if let Some(ticket) = tickets.into_iter().rfind(|ticket| ticket.run == run) {
                return ticket;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no ticket came");
    }

    pub(super) async fn get(&self, id: &str) -> Run {
        self.runs.get(&self.permit, id).await.unwrap()
    }

    pub(super) async fn wait_for(&self, id: &str, status: RunStatus) -> Run {
        for _ in 0..500 {
            let run = self.get(id).await;
            if run.status == status {
                return run;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the run did not become {}", status.as_str());
    }

    /// The bytes of an object of the results, if it is visible.
    pub(super) async fn result(&self, key: &str) -> Option<Vec<u8>> {
        let located =
            crate::run::objects::ObjectAccess::locate(&self.objects, &self.permit, "results", key);
        let file = located.await.ok()?.file;
        Some(self.parts.core.vault().read_file(&file).await.unwrap().to_vec())
    }
}

fn work(parts: &RunParts, runs: &Runs) -> tokio::task::JoinHandle<()> {
    let (jobs, handler) = (parts.jobs.clone(), Arc::new(StartRunJob::new(runs.clone())));
    tokio::spawn(async move { jobs.run(vec![handler], 2).await })
}

impl Harness {
    /// The bytes of an output of the run whose prefix is `prefix`, if it is visible.
    pub(super) async fn result_of(&self, prefix: &str, path: &str) -> Option<Vec<u8>> {
        self.result(&format!("{prefix}/{path}")).await
    }
}
