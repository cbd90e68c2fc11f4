//! One import: verify, unpack in a confined child, take over, publish.

use std::{
    fs,
    io::{self, Read, Write},
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, lchown},
    },
    path::Path,
    process::{Command, Stdio},
};

use oci_spec::image::{Arch, Descriptor, ImageConfiguration, Os};
use readvault_exec_protocol::agent::ImageRecord;

use super::{
    ImageError, ImageStore,
    apply::Budget,
    layout::{self, Blob, Layout},
    reference, sync_directory,
    unpack::{Order, Report},
    write_durably,
};

/// Most layers of an image.
const LAYERS_MAX: usize = 128;
/// Most bytes of a child's report.
const REPORT_BYTES_MAX: u64 = 64 << 10;
/// Unpacked bytes that need no justification by the packed ones.
const RATIO_FREE_BYTES: u64 = 256 << 20;

/// Limits of one image.
#[derive(Clone, Copy, Debug)]
pub struct ImageLimits {
    /// Most entries of all layers together.
    pub entries_max: u64,
    /// Most bytes of all files of all layers together.
    pub bytes_max: u64,
    /// Most unpacked bytes for one packed byte, above the first 256 MiB.
    pub ratio_max: u64,
}

impl Default for ImageLimits {
    fn default() -> Self {
        Self { entries_max: 4_000_000, bytes_max: 64 << 30, ratio_max: 64 }
    }
}

/// Imports the layout at `path`; the store's lock is held by the caller.
pub(super) fn import(
    store: &ImageStore,
    path: &Path,
    name: &str,
) -> Result<ImageRecord, ImageError> {
    let layout = Layout::open(path)?;
    let (descriptor, manifest, manifest_bytes) = layout.manifest()?;
    let (config, config_bytes): (ImageConfiguration, _) = layout.json_blob(manifest.config())?;
    check(&config, manifest.layers())?;
    let digest = descriptor.digest().to_string();
    let tree = store.tree(&digest)?;
    if tree.join("record.json").exists() {
        return Ok(ImageRecord { name: name.to_owned(), ..store.resolve(&digest)? });
    }
    let staging = store.staging().join(reference::hex_of(&digest)?);
    remove_if_there(&staging)?;
    let built = build(store, &layout, &staging, (manifest.layers(), config.rootfs().diff_ids()));
    let record = built.and_then(|bytes| {
        let record = ImageRecord {
            name: name.to_owned(),
            digest,
            config_digest: manifest.config().digest().to_string(),
            bytes,
        };
        let text = serde_json::to_vec(&record).expect("a record is JSON");
        write_durably(&staging.join("manifest.json"), &manifest_bytes)
            .and_then(|()| write_durably(&staging.join("config.json"), &config_bytes))
            .and_then(|()| write_durably(&staging.join("record.json"), &text))
            .and_then(|()| publish(&staging, &tree))
            .map_err(ImageError::io("publishing an image"))?;
        Ok(record)
    });
    if record.is_err() {
        remove_if_there(&staging)?;
    }
    record
}

fn check(config: &ImageConfiguration, layers: &[Descriptor]) -> Result<(), ImageError> {
    let reason = if *config.os() != Os::Linux || *config.architecture() != Arch::default() {
        "it is for another system or architecture".to_owned()
    } else if layers.is_empty() || layers.len() > LAYERS_MAX {
        format!("it has {} layers; between 1 and {LAYERS_MAX} are allowed", layers.len())
    } else if layers.len() != config.rootfs().diff_ids().len() {
        "manifest and configuration differ in the number of layers".to_owned()
    } else {
        return Ok(());
    };
    Err(ImageError::Refused(reason))
}

/// Unpacks every layer into `staging/rootfs`; returns the bytes of the tree.
fn build(
    store: &ImageStore,
    layout: &Layout,
    staging: &Path,
    (layers, diff_ids): (&[Descriptor], &[String]),
) -> Result<u64, ImageError> {
    let rootfs = staging.join("rootfs");
    fs::DirBuilder::new()
        .mode(0o711)
        .create(staging)
        .and_then(|()| fs::create_dir(&rootfs))
        .map_err(ImageError::io("making the tree of an image"))?;
    let packed: u64 = layers.iter().map(Descriptor::size).fold(0, u64::saturating_add);
    let by_ratio = packed.saturating_mul(store.limits.ratio_max).saturating_add(RATIO_FREE_BYTES);
    let bytes = store.limits.bytes_max.min(by_ratio);
    let mut budget = Budget { entries: store.limits.entries_max, bytes };
    for (layer, diff_id) in layers.iter().zip(diff_ids) {
        let compression = layout::compression(layer.media_type())?.to_owned();
        let order = Order { root: rootfs.clone(), compression, budget };
        let (found, left) = unpack(store, layout.blob(layer)?, &order)?;
        if found != *diff_id {
            return Err(ImageError::Refused(format!(
                "layer {} has another diff id than its configuration says",
                layer.digest()
            )));
        }
        budget = left;
    }
    take_over(&rootfs)
}

/// Feeds one layer to a child; returns the layer's diff id and what is left of the budget.
fn unpack(
    store: &ImageStore,
    mut blob: Blob<'_>,
    order: &Order,
) -> Result<(String, Budget), ImageError> {
    let io = ImageError::io("running the unpacking process");
    let mut child = Command::new(&store.unpacker)
        .arg("unpack")
        .args(order.arguments())
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(io)?;
    let mut pipe = child.stdin.take().expect("standard input was piped");
    let fed = feed(&mut blob, &mut pipe);
    drop(pipe);
    let mut report = Vec::new();
    let stdout = child.stdout.take().expect("standard output was piped");
    let heard = stdout.take(REPORT_BYTES_MAX).read_to_end(&mut report);
    child.wait().map_err(ImageError::io("waiting for the unpacking process"))?;
    heard.map_err(ImageError::io("hearing the unpacking process"))?;
    fed?;
    // The digest is judged first: what a child says of wrong bytes is no news.
    blob.finish()?;
    match serde_json::from_slice(&report) {
        Ok(Report::Applied { diff_id, entries_left, bytes_left }) => {
            let entries = entries_left.min(order.budget.entries);
            Ok((diff_id, Budget { entries, bytes: bytes_left.min(order.budget.bytes) }))
        }
        Ok(Report::Refused { reason }) => Err(ImageError::Refused(reason)),
        Err(_) => Err(ImageError::Refused("the unpacking process ended without a word".into())),
    }
}

/// Copies the blob into the pipe; a child that ends early is not an error here.
fn feed(blob: &mut Blob<'_>, pipe: &mut impl Write) -> Result<(), ImageError> {
    let mut piece = vec![0; 1 << 20];
    loop {
        let length = blob.read(&mut piece).map_err(ImageError::io("reading a layer"))?;
        if length == 0 || pipe.write_all(&piece[..length]).is_err() {
            return Ok(());
        }
    }
}

/// Makes the tree this user's and normal, now that nobody else writes to it; returns its bytes.
///
/// The child may have been anything: only directories, files and links are accepted, and
/// permissions are set again.
fn take_over(path: &Path) -> Result<u64, ImageError> {
    let io = ImageError::io("taking over the tree of an image");
    let mut bytes = 0;
    let mut waiting = vec![path.to_owned()];
    let mut step = || -> io::Result<bool> {
        while let Some(path) = waiting.pop() {
            let status = fs::symlink_metadata(&path)?;
            lchown(
                &path,
                Some(nix::unistd::geteuid().as_raw()),
                Some(nix::unistd::getegid().as_raw()),
            )?;
            if status.is_symlink() {
                continue;
            }
            let mode = match status.mode() & 0o7777 {
                _ if status.is_dir() => 0o755,
                mode => mode & 0o755 | 0o444,
            };
            if !status.is_dir() && !status.is_file() {
                return Ok(false);
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
            if status.is_dir() {
                for child in fs::read_dir(&path)? {
                    waiting.push(child?.path());
                }
            } else if status.nlink() == 1 {
                bytes += status.len();
            } else {
                // Each of its names brings its share.
                bytes += status.len() / status.nlink();
            }
        }
        Ok(true)
    };
    match step().map_err(io)? {
        true => Ok(bytes),
        false => Err(ImageError::Refused("it holds more than files and directories".into())),
    }
}

/// Makes the whole tree durable, then visible, in this order.
fn publish(staging: &Path, tree: &Path) -> io::Result<()> {
    let directory = fs::File::open(staging)?;
    nix::unistd::syncfs(directory.as_raw_fd())?;
    if tree.exists() {
        // Without its record it was never whole.
        fs::remove_dir_all(tree)?;
    }
    fs::rename(staging, tree)?;
    sync_directory(tree.parent().expect("a tree lies in the directory of trees"))
}

fn remove_if_there(path: &Path) -> Result<(), ImageError> {
    match fs::remove_dir_all(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            Err(ImageError::io("removing a staged image")(cause))
        }
        _ => Ok(()),
    }
}
