//! Resolves the URIs in a run's parameters, as the run's role, before anything is started.

use std::collections::BTreeMap;

use readvault_exec_protocol::run::{InputSpec, Staging};

use super::{
    Run, RunInput, RunSpecRow, Runs,
    uri::{ReadSetPart, ReadSetUri, S3Uri},
};
use crate::{
    Fault, FaultKind,
    authorize::{Ask, Permit},
    bucket::{self, Bucket, BucketKind},
    fault::Result,
    identity::Caller,
    read_set::{self, ReadSet, ReadSetFile, ReadSetStatus},
};

impl RunInput {
    /// What must be allowed to read it.
    pub(crate) fn ask(&self) -> Ask {
        let action = match self.action.as_str() {
            "omics:GetReadSet" => "omics:GetReadSet",
            _ => "s3:GetObject",
        };
        Ask::new(action, self.resource.clone())
    }

    /// What the run's processes are told of it.
    pub(crate) fn spec(&self, staging: Staging) -> InputSpec {
        InputSpec {
            uri: self.uri.clone(),
            name: self.name.clone(),
            length: self.file.length,
            // The manifest names the bytes as well as a digest does where none was computed.
            digest: self.sha256.clone().unwrap_or_else(|| self.file.manifest.to_string()),
            staging,
        }
    }
}

/// URI or image → ETag or digest: `resourceDigests`.
#[must_use]
pub fn resource_digests(run: &Run, spec: &RunSpecRow) -> BTreeMap<String, String> {
    let inputs = spec.inputs.iter().map(|input| (input.uri.clone(), input.etag.clone()));
    inputs.chain(run.images.clone()).collect()
}

/// A fault that names the URI and the failure reason of the guide.
fn refuse(uri: &str, reason: &str, message: &str) -> Fault {
    let shown: String = uri.chars().take(300).collect();
    Fault::invalid(format!("{reason}: {shown}: {message}"))
}

impl Runs {
    /// What each of `uris` names, readable by `role`.
    ///
    /// # Errors
    /// `InvalidArgument` that names the first URI which is not usable, and why.
    pub(crate) async fn resolve(&self, role: &Caller, uris: &[String]) -> Result<Vec<RunInput>> {
        let mut inputs = Vec::with_capacity(uris.len());
        for uri in uris {
            let input = if uri.starts_with("s3://") {
                self.resolve_s3(role, uri).await?
            } else {
                self.resolve_read_set(role, uri).await?
            };
            let plain = !matches!(input.name.as_str(), "" | "." | "..")
                && !input.name.contains(':')
                && !input.name.chars().any(char::is_control);
            if !plain {
                return Err(refuse(
                    uri,
                    "INVALID_URI_INPUT",
                    "tools can't be given this file name",
                ));
            }
            inputs.push(input);
        }
        Ok(inputs)
    }

    fn permit(&self, role: &Caller, uri: &str, ask: Ask) -> Result<Permit> {
        self.parts.authorizer.authorize(role, &[ask]).map_err(|_| {
            refuse(
                uri,
                "INPUT_URI_NOT_FOUND",
                "it does not exist or the run's role may not read it",
            )
        })
    }

    async fn resolve_s3(&self, role: &Caller, uri: &str) -> Result<RunInput> {
        let invalid = |reason: &str| refuse(uri, "INVALID_URI_INPUT", reason);
        let missing = || refuse(uri, "INPUT_URI_NOT_FOUND", "there is no such object");
        let s3 = S3Uri::parse(uri).map_err(invalid)?;
        if s3.key.ends_with('/') {
            return Err(invalid("whole prefixes can't be inputs yet; name each object"));
        }
        let row = self.core().load::<Bucket>(&bucket::row(&s3.bucket)).await?;
        let Some(bucket) = row.map(|stored| stored.value) else { return Err(missing()) };
        if let BucketKind::ReadSets { sequence_store } = &bucket.kind {
            return self.resolve_alias(role, uri, &s3, sequence_store).await;
        }
        let permit = self.permit(role, uri, Ask::new("s3:GetObject", s3.arn()))?;
        let objects = &self.parts.workflows.objects;
        let object = match objects.locate(&permit, &s3.bucket, &s3.key).await {
            Ok(object) => object,
            Err(fault) if matches!(fault.kind, FaultKind::NoSuchKey | FaultKind::NoSuchBucket) => {
                return Err(missing());
            }
            Err(fault) => return Err(fault),
        };
        Ok(RunInput {
            uri: uri.into(),
            name: s3.key.rsplit('/').next().unwrap_or_default().into(),
            file: object.file,
            etag: object.etag,
            sha256: object.sha256,
            action: "s3:GetObject".into(),
            resource: s3.arn(),
        })
    }

    /// A file of a read set, named by the key that it has in its store's alias bucket.
    async fn resolve_alias(
        &self,
        role: &Caller,
        uri: &str,
        s3: &S3Uri,
        store: &str,
    ) -> Result<RunInput> {
        let missing = || refuse(uri, "INPUT_URI_NOT_FOUND", "there is no such object");
        let prefix = format!("{}/sequenceStore/{store}/readSet/", self.core().site().account);
        let rest = s3.key.strip_prefix(&prefix).ok_or_else(missing)?;
        let (id, name) = rest.split_once('/').ok_or_else(missing)?;
        let permit = self.permit(role, uri, Ask::new("s3:GetObject", s3.arn()))?;
        let read_set = self.read_set(&permit, uri, store, id).await?;
        let files = &read_set.files;
        let file = [Some(&files.source1), files.source2.as_ref(), files.index.as_ref()]
            .into_iter()
            .flatten()
            .find(|file| file.name == name)
            .ok_or_else(missing)?;
        Ok(read_set_input(uri, file, ("s3:GetObject", s3.arn())))
    }

    async fn resolve_read_set(&self, role: &Caller, uri: &str) -> Result<RunInput> {
        let parsed =
            ReadSetUri::parse(uri).map_err(|reason| refuse(uri, "INVALID_URI_INPUT", reason))?;
        let site = self.core().site();
        if parsed.account != site.account || parsed.region != site.region {
            let message = format!("this vault is account {} in {}", site.account, site.region);
            return Err(refuse(uri, "INPUT_URI_NOT_FOUND", &message));
        }
        let resource = format!("sequenceStore/{}/readSet/{}", parsed.store, parsed.id);
        let arn = site.arn("omics", &resource);
        let permit = self.permit(role, uri, Ask::new("omics:GetReadSet", arn.clone()))?;
        let read_set = self.read_set(&permit, uri, &parsed.store, &parsed.id).await?;
        let file = match parsed.part {
            ReadSetPart::Source1 => Some(&read_set.files.source1),
            ReadSetPart::Source2 => read_set.files.source2.as_ref(),
            ReadSetPart::Index => read_set.files.index.as_ref(),
        };
        let file = file
            .ok_or_else(|| refuse(uri, "INPUT_URI_NOT_FOUND", "the read set has no such file"))?;
        Ok(read_set_input(uri, file, ("omics:GetReadSet", arn)))
    }

    /// The read set, if its bytes can be read now.
    async fn read_set(
        &self,
        _permit: &Permit,
        uri: &str,
        store: &str,
        id: &str,
    ) -> Result<ReadSet> {
        let row = self.core().load::<ReadSet>(&read_set::row(store, id)).await?;
        let Some(read_set) = row.map(|stored| stored.value) else {
            return Err(refuse(uri, "INPUT_URI_NOT_FOUND", "there is no such read set"));
        };
        let reason = match read_set.status {
            ReadSetStatus::Active => return Ok(read_set),
            ReadSetStatus::ProcessingUpload => "the read set is still being inspected",
            ReadSetStatus::UploadFailed => "the read set was refused by the inspector",
            ReadSetStatus::Archived | ReadSetStatus::Activating => {
                "the read set is archived; activate it first"
            }
            ReadSetStatus::Deleting | ReadSetStatus::Deleted => {
                return Err(refuse(uri, "INPUT_URI_NOT_FOUND", "the read set was deleted"));
            }
        };
        Err(refuse(uri, "INACTIVE_OMICS_STORAGE_RESOURCE", reason))
    }
}

fn read_set_input(uri: &str, file: &ReadSetFile, (action, resource): (&str, String)) -> RunInput {
    RunInput {
        uri: uri.into(),
        name: file.name.clone(),
        file: file.file.clone(),
        etag: file.etag.clone(),
        sha256: file.sha256.clone(),
        action: action.into(),
        resource,
    }
}
