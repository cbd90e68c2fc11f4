//! Opening: the right key, one process, no acknowledged commit missing, then RocksDB.

use std::{
    fs::{File, TryLockError},
    io::{IoSlice, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use readvault_ambient::Entropy;
use readvault_store::{
    Error, ErrorKind, Result,
    catalog::{Table, row::RowSealer},
    disk::{Disk, LocalDisk, OpenAs, write_all},
};
use rocksdb::{ColumnFamilyDescriptor, DB, DEFAULT_COLUMN_FAMILY_NAME, Options};

use crate::{
    database::{CHANGES, Database, OWN_TABLES, SYNCED},
    env,
    fault::{fault, unavailable},
    file_cipher::{FileKeys, PREFIX_BYTES},
    log,
    manifest::{self, CURRENT},
    observer::PlainFiles,
    settings::{Settings, WRITE_BUFFER_BYTES},
    wal,
};

/// What a catalog was opened with, to open it anew.
pub(crate) struct Opening {
    pub(crate) place: Place,
    pub(crate) tables: Vec<Table>,
    pub(crate) sealer: Arc<RowSealer>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

impl Opening {
    /// Opens the catalog for reads and commits.
    pub(crate) fn open(&self) -> Result<Database> {
        open(&self.place, &self.tables, Arc::clone(&self.sealer), Arc::clone(&self.entropy))
    }

    /// Opens the catalog for reads alone, which writes nothing to the disk.
    pub(crate) fn open_to_read(&self) -> Result<Database> {
        let directory = &*self.place.directory;
        let lock = lock(directory)?;
        let (sealer, entropy) = (Arc::clone(&self.sealer), Arc::clone(&self.entropy));
        manifest::check(directory, &FileKeys::new(Arc::clone(&sealer), Arc::clone(&entropy)))?;
        let env = env::encrypting_env(sealer, entropy, &self.place.plain)?;
        let settings = Settings::new(&env, self.place.write_buffer_bytes);
        let names = DB::list_cf(&settings.database, directory)
            .map_err(fault("reading the catalog's list of tables"))?;
        let tables = descriptors(&names, &settings.table);
        let options = &settings.database;
        let db = DB::open_cf_descriptors_read_only(options, directory, tables, false)
            .map_err(fault("opening the catalog for reads"))?;
        let all = self.tables.iter().copied().chain([CHANGES, SYNCED]);
        Ok(Database::new(db, env, &self.sealer, all).holding(lock))
    }

    /// Whether the disk takes a small file and syncs it.
    pub(crate) fn takes_writes(&self) -> bool {
        let (disk, path) = (&*self.place.disk, self.place.directory.join(PROBE));
        let written = || {
            match disk.remove(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let file = disk.open(&path, OpenAs::New)?;
            write_all(&*file, &mut [IoSlice::new(&[0; 512])])?;
            file.sync_data()?;
            disk.remove(&path)
        };
        written().is_ok()
    }

    /// The catalog's directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.place.directory
    }

    /// Bytes of the log files: what an opening may have to write once more.
    pub(crate) fn log_bytes(&self) -> u64 {
        wal::log_bytes(self.directory())
    }
}

const DIRECTORY: &str = "opening the catalog's directory";
/// A file that is written to see whether the disk takes writes, and removed at once.
const PROBE: &str = "probe.tmp";
/// A lock that was just let go may be held for a moment more by a child between its fork and its
/// exec.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Where a catalog lies and through what its files go.
#[derive(Debug)]
pub(crate) struct Place {
    directory: PathBuf,
    /// For what is done to the directory beside RocksDB.
    disk: Arc<dyn Disk>,
    plain: PlainFiles,
    write_buffer_bytes: usize,
}

impl From<&Path> for Place {
    fn from(directory: &Path) -> Self {
        Self {
            directory: directory.to_path_buf(),
            disk: Arc::new(LocalDisk),
            plain: PlainFiles::default(),
            write_buffer_bytes: WRITE_BUFFER_BYTES,
        }
    }
}

/// A catalog whose operations on files an observer sees, and may fail.
#[cfg(feature = "testing")]
#[derive(Clone, Debug)]
pub struct Observed<'a> {
    /// Its directory.
    pub directory: &'a Path,
    /// Who is asked; none for an ordinary catalog with a chosen buffer.
    pub observer: Option<Arc<dyn readvault_store::disk::observed::Observer>>,
    /// Bytes of a table's rows that are kept before they go into a file; RocksDB takes at least 64 KiB.
    pub write_buffer_bytes: usize,
}

#[cfg(feature = "testing")]
impl From<Observed<'_>> for Place {
    fn from(observed: Observed<'_>) -> Self {
        use readvault_store::disk::observed::ObservedDisk;
        let Observed { directory, observer, write_buffer_bytes } = observed;
        let local: Arc<dyn Disk> = Arc::new(LocalDisk);
        let disk = match &observer {
            Some(observer) => Arc::new(ObservedDisk::new(local, observer.clone())),
            None => local,
        };
        let directory = directory.to_path_buf();
        Self { directory, disk, plain: PlainFiles { observer }, write_buffer_bytes }
    }
}

fn open(
    place: &Place,
    tables: &[Table],
    sealer: Arc<RowSealer>,
    entropy: Arc<dyn Entropy>,
) -> Result<Database> {
    if tables.iter().any(|table| table.0.starts_with(OWN_TABLES) || table.0.is_empty()) {
        return Err(Error::new(ErrorKind::InvalidInput, "a table name is reserved"));
    }
    let (directory, disk) = (&*place.directory, &*place.disk);
    disk.make_directory(directory).map_err(unavailable(DIRECTORY))?;
    let lock = lock(directory)?;
    let env = env::encrypting_env(Arc::clone(&sealer), Arc::clone(&entropy), &place.plain)?;
    let settings = Settings::new(&env, place.write_buffer_bytes);
    let mut names = vec![DEFAULT_COLUMN_FAMILY_NAME.to_owned()];
    if directory.join(CURRENT).exists() {
        let keys = FileKeys::new(Arc::clone(&sealer), entropy);
        check_key(directory, &keys)?;
        manifest::check(directory, &keys)?;
        names = DB::list_cf(&settings.database, directory)
            .map_err(fault("reading the catalog's list of tables"))?;
        let evidence = wal::examine(directory, &keys, &sealer.table(SYNCED))?;
        if evidence.damaged {
            wal::cut(disk, directory, &evidence)?;
            let known = recoverable(directory, &settings, &env, &names, &sealer)?;
            if known < evidence.synced {
                return Err(Error::corrupt("the catalog's log lost acknowledged commits"));
            }
            tracing::warn!(version = known, "the catalog's log ends in an unfinished record");
        }
    }
    let all = || tables.iter().copied().chain([CHANGES, SYNCED]);
    for table in all() {
        if !names.iter().any(|name| name == table.0) {
            names.push(table.0.to_owned());
        }
    }
    let descriptors = descriptors(&names, &settings.table);
    let db = DB::open_cf_descriptors(&settings.database, directory, descriptors)
        .map_err(fault("opening the catalog"))?;
    wal::forget(disk, directory)?;
    Ok(Database::new(db, env, &sealer, all()).holding(lock))
}

fn descriptors<'a>(
    names: &'a [String],
    options: &'a Options,
) -> impl Iterator<Item = ColumnFamilyDescriptor> + use<'a> {
    names.iter().map(|name| ColumnFamilyDescriptor::new(name, options.clone()))
}

/// Takes the lock on the directory: what is examined below must not change meanwhile.
fn lock(directory: &Path) -> Result<File> {
    let lock = File::open(directory).map_err(unavailable(DIRECTORY))?;
    for _ in 0..LOCK_TRIES {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(cause)) => return Err(unavailable(DIRECTORY)(cause)),
        }
    }
    Err(Error::new(ErrorKind::Unavailable, "the catalog is open in another process"))
}

/// Tells a wrong key from damage before anything is read through it.
fn check_key(directory: &Path, keys: &FileKeys) -> Result<()> {
    let mut prefix = Vec::with_capacity(PREFIX_BYTES);
    File::open(directory.join(CURRENT))
        .and_then(|file| file.take(PREFIX_BYTES as u64).read_to_end(&mut prefix))
        .map_err(unavailable(DIRECTORY))?;
    keys.open(&prefix).map(|_| ()).map_err(|_| {
        Error::new(ErrorKind::KeyUnavailable, "the catalog's files do not open under this key")
    })
}

/// The newest version that an opening would find.
fn recoverable(
    directory: &Path,
    settings: &Settings,
    env: &rocksdb::Env,
    names: &[String],
    sealer: &RowSealer,
) -> Result<u64> {
    if !names.iter().any(|name| name == CHANGES.0) {
        return Ok(0);
    }
    let descriptors = descriptors(names, &settings.table);
    let db = DB::open_cf_descriptors_read_only(&settings.database, directory, descriptors, false)
        .map_err(fault("replaying the catalog's log"))?;
    log::last_version(&Database::new(db, env.clone(), sealer, [CHANGES].into_iter()))
}
