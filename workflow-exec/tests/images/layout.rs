//! Writes OCI layouts, right ones and wrong ones.

use std::{fs, io::Write, path::Path};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A layer: its tar, as it is stored, and the media type that says how.
#[derive(Clone)]
pub(crate) struct Layer {
    tar: Vec<u8>,
    stored: Vec<u8>,
    media: String,
}

const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

impl Layer {
    /// Files of (path, content); a path that ends in `/` is a directory, `A -> B` a link.
    pub(crate) fn plain(files: &[(&str, &str)]) -> Self {
        let tar = tar_of(files);
        Self { stored: tar.clone(), tar, media: TAR.into() }
    }

    pub(crate) fn gzip(files: &[(&str, &str)]) -> Self {
        Self::plain(files).gzipped()
    }

    pub(crate) fn zstd(files: &[(&str, &str)]) -> Self {
        let mut layer = Self::plain(files);
        layer.stored = zstd::encode_all(layer.tar.as_slice(), 1).unwrap();
        layer.media = format!("{TAR}+zstd");
        layer
    }

    pub(crate) fn gzipped(mut self) -> Self {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&self.tar).unwrap();
        self.stored = encoder.finish().unwrap();
        self.media = format!("{TAR}+gzip");
        self
    }

    pub(crate) fn typed(media: &str) -> Self {
        Self { media: media.into(), ..Self::plain(&[]) }
    }

    /// Not a tar any more.
    pub(crate) fn broken(mut self) -> Self {
        self.tar[148..156].fill(b'9');
        self.stored = self.tar.clone();
        self
    }

    /// Adds zeros after the end of the archive.
    pub(crate) fn pad(&mut self, length: usize) {
        self.tar.resize(self.tar.len() + length, 0);
        self.stored = self.tar.clone();
    }
}

fn tar_of(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        let (path, link) = path.split_once(" -> ").unwrap_or((path, ""));
        header.set_entry_type(match (path.ends_with('/'), link) {
            (true, _) => tar::EntryType::Directory,
            (false, "") => tar::EntryType::Regular,
            _ => tar::EntryType::Symlink,
        });
        // By hand, since the builder itself refuses what a hostile archive holds.
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_mode(0o6755);
        header.set_uid(1234);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A layout of one image.
pub(crate) struct Layout {
    pub(crate) layers: Vec<Layer>,
    pub(crate) architecture: &'static str,
    pub(crate) diff_id_of_last: Option<String>,
}

impl Layout {
    pub(crate) fn new(layers: Vec<Layer>) -> Self {
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        Self { layers, architecture, diff_id_of_last: None }
    }

    /// The names of all blobs.
    pub(crate) fn blobs(&self) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        self.write(&directory.path().join("layout"));
        fs::read_dir(directory.path().join("layout/blobs/sha256"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    pub(crate) fn write(&self, path: &Path) {
        fs::create_dir_all(path.join("blobs/sha256")).unwrap();
        let blob = |media: &str, content: &[u8]| -> Value {
            let hex = hex::encode(Sha256::digest(content));
            fs::write(path.join("blobs/sha256").join(&hex), content).unwrap();
            json!({"mediaType": media, "digest": format!("sha256:{hex}"), "size": content.len()})
        };
        let layers: Vec<Value> =
            self.layers.iter().map(|layer| blob(&layer.media, &layer.stored)).collect();
        let mut diff_ids: Vec<String> =
            self.layers.iter().map(|layer| hex::encode(Sha256::digest(&layer.tar))).collect();
        if let (Some(last), Some(other)) = (diff_ids.last_mut(), &self.diff_id_of_last) {
            last.clone_from(other);
        }
        let diff_ids: Vec<String> = diff_ids.iter().map(|hex| format!("sha256:{hex}")).collect();
        let config = json!({
            "architecture": self.architecture,
            "os": "linux",
            "config": {"Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config =
            blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
        let media = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media, "config": config, "layers": layers,
        });
        let manifest = blob(media, manifest.to_string().as_bytes());
        let index = json!({"schemaVersion": 2, "manifests": [manifest]});
        fs::write(path.join("index.json"), index.to_string()).unwrap();
        fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    }
}
