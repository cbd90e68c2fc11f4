//! Images and engines of a node: a root-owned directory of unpacked root file systems, by digest.
//!
//! Here live the import of OCI layouts, names, and the choice of an engine for a language. How a
//! root file system becomes a container does not: that is the sandbox's. Callers are the agent
//! (imports, listing) and the supervisors (resolving and reading); all calls block.
//!
//! ```text
//! ROOT/lock                      held while something changes
//! ROOT/catalog.json              names and engines, replaced atomically
//! ROOT/trees/HEX/rootfs/         one read-only tree a manifest digest
//! ROOT/trees/HEX/manifest.json   the manifest whose SHA-256 is HEX
//! ROOT/trees/HEX/config.json     its image configuration
//! ROOT/trees/HEX/record.json     what `list` says of it
//! ROOT/staging/                  imports under way; what a crash left is swept by `open`
//! ```

use std::{
    fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};
use oci_spec::image::ImageConfiguration;
use readvault_exec_protocol::agent::{ImageRecord, Language};

mod apply;
mod catalog;
mod confine;
mod import;
mod layout;
mod reference;
pub mod unpack;

use catalog::Catalog;
pub use import::ImageLimits;
use reference::Reference;

/// Most bytes of a JSON document of a layout or of this store.
const JSON_BYTES_MAX: u64 = 4 << 20;

/// Why an image is not imported, found or removed.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The store or the layout cannot be read or written.
    #[error("{context}")]
    Io {
        /// What was being done.
        context: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The layout, or an archive inside it, is not acceptable; nothing of it is visible.
    #[error("the image is refused: {0}")]
    Refused(String),
    /// No image has this name or digest on this node.
    #[error("no image '{0}' on this node; import it first")]
    NotFound(String),
    /// The name is not of the form `NAME:TAG`, `NAME@sha256:…` or `sha256:…`.
    #[error("'{0}' is not an image reference")]
    BadReference(String),
    /// The image is an engine and must stay until another takes its place.
    #[error("the image is the engine of a language")]
    InUse,
    /// The store's own records are damaged.
    #[error("the image store is damaged: {0}")]
    Damaged(String),
}

impl ImageError {
    fn io(context: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { context, source }
    }
}

/// The images of a node.
///
/// An image is visible once its tree is complete and durable, never before. Trees are read-only by
/// contract: nothing writes to one after its import.
///
/// ```no_run
/// use std::path::Path;
/// use readvault_workflow_exec::images::ImageStore;
/// let store = ImageStore::open(Path::new("/var/lib/readvault-agent/images"))?;
/// let image = store.import(Path::new("./tools-layout"), "tools:latest")?;
/// let rootfs = store.rootfs(&image.digest)?;
/// # Ok::<(), readvault_workflow_exec::images::ImageError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ImageStore {
    root: PathBuf,
    unpacker: PathBuf,
    limits: ImageLimits,
}

impl ImageStore {
    /// Opens the store at `root`, makes it when it is missing, and sweeps what a crash left.
    ///
    /// # Errors
    /// `Io`; `Damaged` when `root` belongs to another user or others may write to it.
    pub fn open(root: &Path) -> Result<Self, ImageError> {
        let unpacker = std::env::current_exe().map_err(ImageError::io("naming the program"))?;
        let root = std::path::absolute(root).map_err(ImageError::io("naming the image store"))?;
        for directory in [root.clone(), root.join("trees"), root.join("staging")] {
            // Searchable, so that a run's user name space can follow a path; listable by root.
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o711)
                .create(&directory)
                .map_err(ImageError::io("making the image store"))?;
        }
        let status = fs::metadata(&root).map_err(ImageError::io("opening the image store"))?;
        if status.uid() != nix::unistd::geteuid().as_raw() || status.mode() & 0o022 != 0 {
            return Err(ImageError::Damaged("another user may write to its directory".into()));
        }
        let store = Self { root, unpacker, limits: ImageLimits::default() };
        store.sweep()?;
        Ok(store)
    }

    /// The same store with another program for `PROGRAM unpack` (this program by default).
    #[must_use]
    pub fn with_unpacker(mut self, program: &Path) -> Self {
        self.unpacker = program.to_owned();
        self
    }

    /// The same store with other limits for imports.
    #[must_use]
    pub fn with_limits(mut self, limits: ImageLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Imports the OCI layout at `layout` (a directory or a tar of one) as `name` (`NAME:TAG`).
    ///
    /// Every blob is verified against its digest and every layer against its diff id; layers are
    /// unpacked by a confined child ([`unpack`]). All or nothing, durable on success, idempotent.
    ///
    /// # Errors
    /// `Refused` with what is wrong with the layout; `BadReference` for the name; `Io`.
    pub fn import(&self, layout: &Path, name: &str) -> Result<ImageRecord, ImageError> {
        let name = reference::checked_name(name)?;
        let _lock = self.lock()?;
        let record = import::import(self, layout, &name)?;
        let mut catalog = self.catalog()?;
        catalog.name(&name, &record.digest);
        self.replace_catalog(&catalog)?;
        Ok(record)
    }

    /// The image that `reference` names: `NAME:TAG`, `NAME@sha256:…` or `sha256:…`; a name without
    /// a tag means `:latest`. A digest counts, whatever name stands before it.
    ///
    /// # Errors
    /// `NotFound`, `BadReference`, `Damaged`, `Io`.
    pub fn resolve(&self, reference: &str) -> Result<ImageRecord, ImageError> {
        let (digest, name) = match Reference::parse(reference)? {
            Reference::Digest(digest) => (digest, None),
            Reference::Name(name) => {
                let missing = || ImageError::NotFound(name.clone());
                (self.catalog()?.digest_of(&name).ok_or_else(missing)?.to_owned(), Some(name))
            }
        };
        let mut record: ImageRecord = match self.json(&digest, "record.json") {
            Err(ImageError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Err(ImageError::NotFound(reference.to_owned()));
            }
            found => found?,
        };
        if let Some(name) = name {
            record.name = name;
        }
        Ok(record)
    }

    /// The directory of the root file system of the image whose manifest is `digest`.
    ///
    /// # Errors
    /// `NotFound` or `BadReference`.
    pub fn rootfs(&self, digest: &str) -> Result<PathBuf, ImageError> {
        let rootfs = self.tree(digest)?.join("rootfs");
        if rootfs.is_dir() { Ok(rootfs) } else { Err(ImageError::NotFound(digest.to_owned())) }
    }

    /// The configuration of the image whose manifest is `digest`.
    ///
    /// # Errors
    /// `NotFound`, `BadReference`, `Damaged`.
    pub fn config(&self, digest: &str) -> Result<ImageConfiguration, ImageError> {
        self.rootfs(digest)?;
        self.json(digest, "config.json")
    }

    /// Makes an image of this store the engine for `language`, in place of any other.
    ///
    /// # Errors
    /// `NotFound`, `Io`.
    pub fn set_engine(&self, language: Language, digest: &str) -> Result<(), ImageError> {
        self.rootfs(digest)?;
        let _lock = self.lock()?;
        let mut catalog = self.catalog()?;
        catalog.set_engine(language, digest);
        self.replace_catalog(&catalog)
    }

    /// The engine for `language`; none when no engine was added.
    ///
    /// # Errors
    /// `Damaged`, `Io`.
    pub fn engine(&self, language: Language) -> Result<Option<ImageRecord>, ImageError> {
        match self.catalog()?.engine(language) {
            Some(digest) => self.resolve(digest).map(Some),
            None => Ok(None),
        }
    }

    /// All engines, by language.
    ///
    /// # Errors
    /// `Damaged`, `Io`.
    pub fn engines(&self) -> Result<Vec<(Language, ImageRecord)>, ImageError> {
        let catalog = self.catalog()?;
        catalog.engines().map(|(language, digest)| Ok((language, self.resolve(digest)?))).collect()
    }

    /// All names and what they mean, in the order of their names.
    ///
    /// # Errors
    /// `Damaged`, `Io`.
    pub fn list(&self) -> Result<Vec<ImageRecord>, ImageError> {
        self.catalog()?.names().map(|name| self.resolve(name)).collect()
    }

    /// Removes a name (`NAME:TAG`), and the tree with its last name; a digest removes the tree and
    /// every name of it. The caller makes sure that no run uses it.
    ///
    /// # Errors
    /// `NotFound`, `InUse`, `Io`.
    pub fn remove(&self, reference: &str) -> Result<(), ImageError> {
        let _lock = self.lock()?;
        let digest = self.resolve(reference)?.digest;
        let mut catalog = self.catalog()?;
        match Reference::parse(reference)? {
            Reference::Name(name) => catalog.forget_name(&name),
            Reference::Digest(digest) => catalog.forget_digest(&digest),
        }
        let named = catalog.is_named(&digest);
        if !named && catalog.is_engine(&digest) {
            return Err(ImageError::InUse);
        }
        self.replace_catalog(&catalog)?;
        if !named {
            // Out of sight at once; a crash in the middle of the removal leaves only staging.
            let doomed = self.staging().join(format!("removed-{}", &digest["sha256:".len()..]));
            fs::rename(self.tree(&digest)?, &doomed)
                .and_then(|()| fs::remove_dir_all(&doomed))
                .map_err(ImageError::io("removing an image"))?;
        }
        Ok(())
    }

    fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    fn tree(&self, digest: &str) -> Result<PathBuf, ImageError> {
        Ok(self.root.join("trees").join(reference::hex_of(digest)?))
    }

    fn json<T: serde::de::DeserializeOwned>(
        &self,
        digest: &str,
        file: &'static str,
    ) -> Result<T, ImageError> {
        let content = fs::read(self.tree(digest)?.join(file)).map_err(ImageError::io(file))?;
        serde_json::from_slice(&content)
            .map_err(|_| ImageError::Damaged(format!("{digest} {file}")))
    }

    fn catalog(&self) -> Result<Catalog, ImageError> {
        match fs::read(self.root.join("catalog.json")) {
            Ok(content) => serde_json::from_slice(&content)
                .map_err(|_| ImageError::Damaged("catalog.json".into())),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(Catalog::default()),
            Err(cause) => Err(ImageError::io("reading the catalog of images")(cause)),
        }
    }

    fn replace_catalog(&self, catalog: &Catalog) -> Result<(), ImageError> {
        let content = serde_json::to_vec_pretty(catalog).expect("a catalog is JSON");
        let staged = self.staging().join("catalog.json");
        write_durably(&staged, &content)
            .and_then(|()| fs::rename(&staged, self.root.join("catalog.json")))
            .and_then(|()| sync_directory(&self.root))
            .map_err(ImageError::io("writing the catalog of images"))
    }

    fn lock(&self) -> Result<Flock<fs::File>, ImageError> {
        Flock::lock(self.lock_file()?, FlockArg::LockExclusive)
            .map_err(|(_, cause)| ImageError::io("locking the image store")(cause.into()))
    }

    fn lock_file(&self) -> Result<fs::File, ImageError> {
        fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.root.join("lock"))
            .map_err(ImageError::io("opening the lock of the image store"))
    }

    /// Removes what imports left that ended in a crash; none is under way when the lock is free.
    fn sweep(&self) -> Result<(), ImageError> {
        let Ok(_lock) = Flock::lock(self.lock_file()?, FlockArg::LockExclusiveNonblock) else {
            return Ok(());
        };
        let entries = fs::read_dir(self.staging()).map_err(ImageError::io("reading staging"))?;
        for entry in entries {
            let entry = entry.map_err(ImageError::io("reading staging"))?;
            let kind = entry.file_type().map_err(ImageError::io("reading staging"))?;
            let path = entry.path();
            if kind.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
                .map_err(ImageError::io("sweeping staging"))?;
        }
        Ok(())
    }
}

fn write_durably(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn sync_directory(path: &Path) -> std::io::Result<()> {
    fs::File::open(path)?.sync_all()
}
