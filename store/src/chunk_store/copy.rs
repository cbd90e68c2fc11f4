//! A second copy of the packs, such as a backup, that is only read.

use std::{fmt, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Extent, descriptors::Descriptors, files::PackFiles};
use crate::{Error, ErrorKind, Result, disk::LocalDisk, error};

/// Another copy of the packs, from which damaged records are mended.
#[async_trait]
pub trait PackSource: Send + Sync + fmt::Debug {
    /// Reads exactly `extent`.
    ///
    /// # Errors
    /// `NotFound` when the copy has no such pack; `Corrupt` when its pack ends before; `Unavailable`.
    async fn read(&self, extent: Extent) -> Result<Bytes>;
}

/// A directory with copies of packs under their names.
#[derive(Debug)]
pub struct PackCopy(Arc<Descriptors>);

impl PackCopy {
    /// The copies in `directory`, which must be there.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable`.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self> {
        let directory = directory.into();
        if !directory.is_dir() {
            return Err(Error::new(ErrorKind::NotFound, "directory of the second copy"));
        }
        let files = PackFiles::open(Arc::new(LocalDisk), directory);
        let files = files.map_err(error::io("second copy of the packs"))?;
        Ok(Self(Arc::new(Descriptors::new(Arc::new(files)))))
    }
}

#[async_trait]
impl PackSource for PackCopy {
    async fn read(&self, extent: Extent) -> Result<Bytes> {
        let descriptors = self.0.clone();
        let read = tokio::task::spawn_blocking(move || {
            let at = || format!("second copy of pack {} at {}", extent.pack, extent.offset);
            let file = descriptors.file(extent.pack).map_err(|cause| error::io(at())(cause))?;
            let mut bytes = vec![0; extent.length as usize];
            let read = file.read_exact_at(&mut bytes, extent.offset);
            read.map_err(|cause| error::io(at())(cause))?;
            Ok(bytes.into())
        });
        read.await.map_err(|cause| Error::new(ErrorKind::Internal, "second copy").because(cause))?
    }
}
