//! Input bytes and the definition, for the processes of a run: exact ranges of recorded inputs.

use async_trait::async_trait;
use bytes::Bytes;
use readvault_exec_protocol::{
    run::{READ_BYTES_MAX, RunSpec},
    source::{ReadSetSource, SourceError},
};
use readvault_store::{
    ErrorKind,
    vault::{FileReader, FileRef},
};

use super::{Runs, live::LiveRun};

#[async_trait]
impl ReadSetSource for Runs {
    async fn open(&self, token: &str) -> Result<RunSpec, SourceError> {
        Ok(self.authenticate(token).await?.spec.clone())
    }

    async fn definition(
        &self,
        token: &str,
        offset: u64,
        length: u32,
    ) -> Result<Bytes, SourceError> {
        let live = self.authenticate(token).await?;
        self.range(&live, &live.definition, offset, length).await
    }

    async fn read(
        &self,
        token: &str,
        input: u32,
        offset: u64,
        length: u32,
    ) -> Result<Bytes, SourceError> {
        let live = self.authenticate(token).await?;
        let file = usize::try_from(input).ok().and_then(|index| live.inputs.get(index));
        let file = file.ok_or_else(|| SourceError::Invalid("the run has no such input".into()))?;
        self.range(&live, &file.file, offset, length).await
    }
}

impl Runs {
    /// Exactly `length` bytes of `file` from `offset`, fewer only at its end.
    async fn range(
        &self,
        live: &LiveRun,
        file: &FileRef,
        offset: u64,
        length: u32,
    ) -> Result<Bytes, SourceError> {
        if length > READ_BYTES_MAX {
            return Err(SourceError::Invalid("a read has at most 1 MiB".into()));
        }
        if offset > file.length {
            return Err(SourceError::Invalid("the offset is beyond the end".into()));
        }
        let end = offset.saturating_add(u64::from(length)).min(file.length);
        if end == offset {
            return Ok(Bytes::new());
        }
        let reader = self.reader(live, file).await?;
        let bytes = reader.read(offset..end).await.map_err(|error| said(live, &error))?;
        if bytes.len() as u64 != end - offset {
            return Err(SourceError::Unavailable("the vault gave another length".into()));
        }
        Ok(bytes)
    }

    async fn reader(&self, live: &LiveRun, file: &FileRef) -> Result<FileReader, SourceError> {
        if let Some(reader) = live.readers.lock().get(&file.manifest) {
            return Ok(reader.clone());
        }
        let reader =
            self.core().vault().open_file(file).await.map_err(|error| said(live, &error))?;
        live.readers.lock().insert(file.manifest, reader.clone());
        Ok(reader)
    }
}

/// An error of the vault, in the words of the conversation. A reader that failed is opened anew.
fn said(live: &LiveRun, error: &readvault_store::Error) -> SourceError {
    live.readers.lock().clear();
    match error.kind() {
        ErrorKind::NotFound => SourceError::Revoked(
            "MODIFIED_INPUT_RESOURCE: the input was deleted or replaced since the run began".into(),
        ),
        ErrorKind::KeyUnavailable => {
            SourceError::Revoked("IMPORT_FAILED: the key that opens the input is not usable".into())
        }
        ErrorKind::Corrupt => {
            tracing::error!(run = live.id, %error, "an input of a run failed a check");
            SourceError::Revoked("IMPORT_FAILED: stored bytes failed a check".into())
        }
        _ => SourceError::Unavailable("the vault is busy".into()),
    }
}
