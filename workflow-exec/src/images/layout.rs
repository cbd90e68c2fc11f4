//! Reads an OCI image layout, as a directory or as one tar of it (image-spec, image-layout.md).
//!
//! Nothing is believed but digests: a blob is read through [`Blob`], whose end compares length and
//! SHA-256 with the descriptor.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use oci_spec::image::{Arch, Descriptor, ImageIndex, ImageManifest, MediaType, Os};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::{ImageError, JSON_BYTES_MAX, reference};

/// Most files of a layout that comes as a tar.
const FILES_MAX: usize = 4096;
/// Most indexes inside indexes.
const INDEX_DEPTH_MAX: usize = 3;

/// A layout whose `oci-layout` file was read.
#[derive(Debug)]
pub(super) enum Layout {
    Directory(PathBuf),
    Tar { file: File, entries: HashMap<String, (u64, u64)> },
}

impl Layout {
    /// Opens the layout at `path`.
    pub(super) fn open(path: &Path) -> Result<Self, ImageError> {
        let status = std::fs::metadata(path).map_err(ImageError::io("opening the layout"))?;
        let layout =
            if status.is_dir() { Self::Directory(path.to_owned()) } else { Self::open_tar(path)? };
        let version: serde_json::Value = layout.json_file("oci-layout")?;
        match version.get("imageLayoutVersion").and_then(|version| version.as_str()) {
            Some(version) if version.starts_with("1.") => Ok(layout),
            _ => Err(refused("it is no OCI image layout of version 1")),
        }
    }

    fn open_tar(path: &Path) -> Result<Self, ImageError> {
        let io = ImageError::io("reading the layout's tar");
        let file = open_regular(path).map_err(io)?;
        let mut entries = HashMap::new();
        let mut archive = tar::Archive::new(&file);
        let listing = archive.entries_with_seek().map_err(not_a_tar)?;
        for entry in listing {
            let entry = entry.map_err(not_a_tar)?;
            let path = entry.path_bytes();
            let name = String::from_utf8_lossy(&path).trim_start_matches("./").to_owned();
            if entry.header().entry_type().is_file() {
                entries.insert(name, (entry.raw_file_position(), entry.size()));
            }
            if entries.len() > FILES_MAX {
                return Err(refused("the layout's tar holds too many files"));
            }
        }
        Ok(Self::Tar { file, entries })
    }

    fn open_file(&self, name: &str) -> Result<(Box<dyn Read + '_>, u64), ImageError> {
        match self {
            Self::Directory(root) => {
                let file = open_regular(&root.join(name)).map_err(|cause| {
                    if cause.kind() == io::ErrorKind::NotFound {
                        refused(format!("the layout has no {name}"))
                    } else {
                        ImageError::io("opening a file of the layout")(cause)
                    }
                })?;
                let length = file.metadata().map_err(ImageError::io("reading the layout"))?.len();
                Ok((Box::new(file), length))
            }
            Self::Tar { file, entries } => {
                let missing = || refused(format!("the layout has no {name}"));
                let (start, length) = *entries.get(name).ok_or_else(missing)?;
                let mut file = file;
                file.seek(SeekFrom::Start(start)).map_err(ImageError::io("reading the layout"))?;
                Ok((Box::new(file.take(length)), length))
            }
        }
    }

    fn json_file<T: DeserializeOwned>(&self, name: &str) -> Result<T, ImageError> {
        let (reader, length) = self.open_file(name)?;
        parse(&read_all(reader, length, name)?, name)
    }

    /// The blob of `descriptor`, which must be read to its end and then [`Blob::finish`]ed.
    pub(super) fn blob(&self, descriptor: &Descriptor) -> Result<Blob<'_>, ImageError> {
        let digest = descriptor.digest().to_string();
        let hex =
            reference::hex_of(&digest).map_err(|_| refused("a digest of it is not SHA-256"))?;
        let (reader, length) = self.open_file(&format!("blobs/sha256/{hex}"))?;
        if length != descriptor.size() {
            return Err(refused(format!(
                "blob {digest} has {length} bytes instead of {}",
                descriptor.size()
            )));
        }
        Ok(Blob { reader, hash: Sha256::new(), digest })
    }

    /// A JSON blob, verified, with its bytes.
    pub(super) fn json_blob<T: DeserializeOwned>(
        &self,
        descriptor: &Descriptor,
    ) -> Result<(T, Vec<u8>), ImageError> {
        let mut blob = self.blob(descriptor)?;
        let content = read_all(&mut blob, descriptor.size(), "a document")?;
        let digest = blob.finish()?;
        Ok((parse(&content, &digest)?, content))
    }

    /// The descriptor of the one image of this layout that runs on this machine, with its manifest.
    pub(super) fn manifest(&self) -> Result<(Descriptor, ImageManifest, Vec<u8>), ImageError> {
        let mut found = Vec::new();
        self.collect(&self.json_file("index.json")?, INDEX_DEPTH_MAX, &mut found)?;
        match <[Descriptor; 1]>::try_from(found) {
            Ok([descriptor]) => {
                let (manifest, content) = self.json_blob(&descriptor)?;
                Ok((descriptor, manifest, content))
            }
            Err(found) if found.is_empty() => {
                Err(refused("no image in the layout is for this machine's architecture"))
            }
            Err(_) => Err(refused("several images in the layout are for this machine")),
        }
    }

    fn collect(
        &self,
        index: &ImageIndex,
        depth: usize,
        found: &mut Vec<Descriptor>,
    ) -> Result<(), ImageError> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(refused("its indexes are nested too deep"));
        };
        for descriptor in index.manifests() {
            let fits = descriptor.platform().as_ref().is_none_or(|platform| {
                *platform.os() == Os::Linux && *platform.architecture() == Arch::default()
            });
            let known = |other: &Descriptor| other.digest() == descriptor.digest();
            match descriptor.media_type().as_ref() {
                _ if !fits || found.iter().any(known) => {}
                "application/vnd.oci.image.manifest.v1+json"
                | "application/vnd.docker.distribution.manifest.v2+json" => {
                    found.push(descriptor.clone());
                }
                "application/vnd.oci.image.index.v1+json"
                | "application/vnd.docker.distribution.manifest.list.v2+json" => {
                    self.collect(&self.json_blob(descriptor)?.0, depth, found)?;
                }
                _ => {}
            }
            if found.len() > FILES_MAX {
                return Err(refused("it holds too many images"));
            }
        }
        Ok(())
    }
}

/// How a layer is compressed, or why it can't be taken.
pub(super) fn compression(media: &MediaType) -> Result<&'static str, ImageError> {
    match media.as_ref() {
        "application/vnd.oci.image.layer.v1.tar"
        | "application/vnd.docker.image.rootfs.diff.tar" => Ok("none"),
        "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Ok("gzip"),
        "application/vnd.oci.image.layer.v1.tar+zstd" => Ok("zstd"),
        other => Err(refused(format!("a layer has the media type {other:?}"))),
    }
}

/// Bytes of a blob, hashed as they are read.
pub(super) struct Blob<'a> {
    reader: Box<dyn Read + 'a>,
    hash: Sha256,
    digest: String,
}

impl std::fmt::Debug for Blob<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Blob").field(&self.digest).finish()
    }
}

impl Read for Blob<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.reader.read(buffer)?;
        self.hash.update(&buffer[..length]);
        Ok(length)
    }
}

impl Blob<'_> {
    /// Reads what is left and returns the digest, if it is the one that was asked for.
    pub(super) fn finish(mut self) -> Result<String, ImageError> {
        io::copy(&mut self, &mut io::sink()).map_err(ImageError::io("reading a blob"))?;
        if format!("sha256:{}", hex::encode(self.hash.finalize())) == self.digest {
            Ok(self.digest)
        } else {
            Err(refused(format!("the bytes of blob {} have another digest", self.digest)))
        }
    }
}

fn open_regular(path: &Path) -> io::Result<File> {
    // Non-blocking, so that a named pipe in place of a file cannot hold the caller for ever.
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_NOCTTY;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
    }
}

fn read_all(reader: impl Read, length: u64, name: &str) -> Result<Vec<u8>, ImageError> {
    if length > JSON_BYTES_MAX {
        return Err(refused(format!("{name} is larger than {JSON_BYTES_MAX} bytes")));
    }
    let mut content = Vec::new();
    reader
        .take(JSON_BYTES_MAX)
        .read_to_end(&mut content)
        .map_err(ImageError::io("reading a document of the layout"))?;
    Ok(content)
}

fn parse<T: DeserializeOwned>(content: &[u8], name: &str) -> Result<T, ImageError> {
    serde_json::from_slice(content).map_err(|cause| refused(format!("{name}: {cause}")))
}

fn not_a_tar(cause: io::Error) -> ImageError {
    refused(format!("it is neither a directory nor a tar of a layout: {cause}"))
}

fn refused(reason: impl Into<String>) -> ImageError {
    ImageError::Refused(reason.into())
}
