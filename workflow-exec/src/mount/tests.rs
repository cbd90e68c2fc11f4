//! Through the kernel: these tests mount, as root or with `fusermount3`.

use std::{
    fs::{self, File},
    os::{
        fd::AsRawFd,
        unix::fs::{FileExt, OpenOptionsExt},
    },
    sync::mpsc::sync_channel,
    time::Duration,
};

use nix::{
    libc,
    mount::{MsFlags, mount},
    sys::mman::{MapFlags, ProtFlags, mmap, munmap},
};
use readvault_exec_protocol::run::RunRequest;
use tempfile::TempDir;

use super::*;
use peer::{Peer, Store, TOKEN};

mod peer;

const MIB: usize = 1 << 20;

struct Bench {
    directory: TempDir,
    store: Arc<Store>,
}

impl Bench {
    fn new(store: Store) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("at")).unwrap();
        Self { directory, store: Arc::new(store) }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    fn at(&self) -> PathBuf {
        self.directory.path().join("at")
    }

    fn path(&self, file: usize) -> PathBuf {
        self.at().join(self.store.path(file))
    }

    fn server(&self) -> Peer {
        Peer::start(&self.socket(), &self.store)
    }

    fn params(&self) -> MountParams {
        MountParams::new(self.socket(), TOKEN.into())
    }

    fn mount(&self, params: &MountParams) -> Mounted {
        mount_files(&self.at(), params, Arc::new(System)).unwrap()
    }

    fn check(&self, file: usize, start: usize, length: usize, content: &[u8]) {
        let bytes = &self.store.files[file];
        let end = bytes.len().min(start + length);
        assert!(content == &bytes[start.min(end)..end], "file {file}, {length} bytes at {start}");
    }

    fn is_mounted(&self) -> bool {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        mounts.contains(self.at().to_str().unwrap())
    }
}

/// What one read call gives, repeated until the range is full or the file ends.
fn read_at(file: &File, start: usize, length: usize) -> io::Result<Vec<u8>> {
    let mut content = vec![0xee; length];
    let mut filled = 0;
    while filled < length {
        match file.read_at(&mut content[filled..], (start + filled) as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    content.truncate(filled);
    Ok(content)
}

/// Starts and lengths around every edge there is: pages, blocks, groups, the end.
fn edges(length: usize) -> Vec<(usize, usize)> {
    let around = |edge: usize| [edge.saturating_sub(1), edge, edge + 1];
    let starts = [0, 4096, 64 << 10, 128 << 10, MIB, 2 * MIB, length / 2, length];
    let lengths = [1, 4096, 64 << 10, MIB, 3 * MIB];
    starts
        .into_iter()
        .flat_map(around)
        .flat_map(|start| lengths.into_iter().flat_map(around).map(move |long| (start, long)))
        .filter(|(_, long)| *long > 0)
        .collect()
}

#[test]
fn files_are_whole_for_concurrent_readers_of_every_kind() {
    let bench = Bench::new(Store::new(&[5 * MIB + 12_345, 3 * MIB, 1, 0, 65_537]));
    let server = bench.server();
    // A cache of a few blocks, so that most reads go to the server.
    let params = MountParams { cache_bytes: 300 << 10, ..bench.params() };
    let mounted = bench.mount(&params);
    thread::scope(|scope| {
        for file in 0..bench.store.files.len() {
            let bench = &bench;
            scope.spawn(move || {
                assert!(fs::read(bench.path(file)).unwrap() == bench.store.files[file])
            });
        }
        for (shift, flags) in [(0, 0), (7, libc::O_DIRECT), (3, 0)] {
            let bench = &bench;
            scope.spawn(move || {
                let open = File::options().read(true).custom_flags(flags).open(bench.path(0));
                let open = open.unwrap();
                let all = edges(bench.store.files[0].len());
                for (start, length) in all.iter().cycle().skip(shift).step_by(3).take(all.len() / 3)
                {
                    let content = read_at(&open, *start, *length).unwrap();
                    bench.check(0, *start, *length, &content);
                }
            });
        }
        scope.spawn(|| assert!(mapped(&bench.path(1)) == bench.store.files[1]));
    });
    assert!(!mounted.is_lost());
    mounted.unmount().unwrap();
    assert!(!bench.is_mounted());
    server.kill();
}

/// The content of a file, through a memory map.
#[expect(unsafe_code, reason = "memory maps are what is tested")]
fn mapped(path: &Path) -> Vec<u8> {
    let file = File::open(path).unwrap();
    let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
    let size = length.try_into().unwrap();
    // SAFETY: a new private mapping; nobody changes or shortens the file while it is looked at; it
    // is unmapped after the copy.
    unsafe {
        let start =
            mmap(None, size, ProtFlags::PROT_READ, MapFlags::MAP_PRIVATE, &file, 0).unwrap();
        let content = std::slice::from_raw_parts(start.cast::<u8>().as_ptr(), length).to_vec();
        munmap(start, length).unwrap();
        content
    }
}

#[test]
fn a_short_answer_never_becomes_zeros() {
    let bench = Bench::new(Store { short_every: 2, ..Store::new(&[4 * MIB + 1]) });
    let server = bench.server();
    let mounted = bench.mount(&bench.params());
    assert!(fs::read(bench.path(0)).unwrap() == bench.store.files[0]);
    assert!(!mounted.is_lost());
    mounted.unmount().unwrap();
    server.kill();
}

#[test]
fn readers_outlive_a_restart_of_the_server() {
    let bench = Bench::new(Store::new(&[16 * MIB + 77]));
    let server = bench.server();
    let mounted = bench.mount(&MountParams { cache_bytes: 0, ..bench.params() });
    let file = File::open(bench.path(0)).unwrap();
    bench.check(0, 0, MIB, &read_at(&file, 0, MIB).unwrap());
    let server = thread::scope(|scope| {
        let reading = scope.spawn(|| fs::read(bench.path(0)).unwrap());
        server.kill();
        let waiting = scope.spawn(|| read_at(&file, 9 * MIB, 2 * MIB).unwrap());
        thread::sleep(Duration::from_millis(300));
        let server = bench.server();
        bench.check(0, 9 * MIB, 2 * MIB, &waiting.join().unwrap());
        assert!(reading.join().unwrap() == bench.store.files[0]);
        server
    });
    assert!(!mounted.is_lost());
    drop(file);
    mounted.unmount().unwrap();
    server.kill();
}

#[test]
fn a_server_that_stays_away_gives_an_error_and_loses_the_mount() {
    let bench = Bench::new(Store::new(&[8 * MIB]));
    let server = bench.server();
    let mounted = bench.mount(&MountParams { retry_ms: 200, ..bench.params() });
    let file = File::open(bench.path(0)).unwrap();
    bench.check(0, 0, 4096, &read_at(&file, 0, 4096).unwrap());
    server.kill();
    let refused = read_at(&file, 5 * MIB, MIB).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EIO));
    assert!(mounted.is_lost());
    // A server that comes back does not heal it: a task may have read the error already.
    let server = bench.server();
    assert_eq!(read_at(&file, 6 * MIB, 10).unwrap_err().raw_os_error(), Some(libc::EIO));
    server.kill();
    drop(file);
    mounted.unmount().unwrap();
    assert!(!bench.is_mounted());
}

#[test]
fn a_token_that_opens_nothing_mounts_nothing() {
    let bench = Bench::new(Store::new(&[10]));
    let server = bench.server();
    let params = MountParams { token: "guess".into(), ..bench.params() };
    let refused = mount_files(&bench.at(), &params, Arc::new(System)).unwrap_err();
    assert!(matches!(&refused, MountError::Server(reason) if reason == "no such run"));
    server.kill();
    let refused = mount_files(&bench.at(), &bench.params(), Arc::new(System)).unwrap_err();
    assert!(matches!(refused, MountError::Server(_)));
    assert!(!bench.is_mounted());
}

#[test]
fn the_tree_lists_its_files_and_refuses_writes() {
    let bench = Bench::new(Store::new(&[10, 20]));
    let server = bench.server();
    let mounted = bench.mount(&bench.params());
    let mut digests: Vec<_> =
        fs::read_dir(bench.at()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    digests.sort();
    let digests: Vec<_> = digests.iter().map(|name| name.to_str().unwrap()).collect();
    let mut expected = [bench.store.digest(0), bench.store.digest(1)];
    expected.sort();
    assert_eq!(digests, expected);
    let status = fs::metadata(bench.path(1)).unwrap();
    assert_eq!(status.len(), 20);
    assert_eq!(
        status.modified().unwrap(),
        fs::metadata(bench.path(0)).unwrap().modified().unwrap()
    );
    assert!(File::options().write(true).open(bench.path(0)).is_err());
    assert!(File::create(bench.at().join("new")).is_err());
    assert!(fs::remove_file(bench.path(0)).is_err());
    assert!(fs::metadata(bench.at().join("missing")).is_err());
    mounted.unmount().unwrap();
    let asked = bench.store.log.lock().unwrap();
    // This process is no task.
    assert!(!asked.iter().any(|request| matches!(request, RunRequest::Access { .. })));
    drop(asked);
    server.kill();
}

#[test]
fn a_descriptor_that_somebody_else_mounted_is_served() {
    if !nix::unistd::geteuid().is_root() {
        return; // only root can mount by itself
    }
    let bench = Bench::new(Store::new(&[3 * MIB + 5]));
    let server = bench.server();
    let fuse = File::options().read(true).write(true).open("/dev/fuse").unwrap();
    let options =
        format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", fuse.as_raw_fd());
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_RDONLY;
    mount(Some("test"), &bench.at(), Some("fuse"), flags, Some(options.as_str())).unwrap();
    let (told, hearing) = sync_channel(4);
    let params = MountParams { retry_ms: 100, ..bench.params() };
    let serving = thread::spawn(move || serve(fuse.into(), &params, Arc::new(System), Lines(told)));
    assert_eq!(hearing.recv_timeout(Duration::from_secs(10)).unwrap(), "ready\n");
    assert!(fs::read(bench.path(0)).unwrap() == bench.store.files[0]);
    assert!(hearing.try_recv().is_err());
    server.kill();
    // Out of the page cache, so that the next read has to ask.
    let file = File::options().read(true).custom_flags(libc::O_DIRECT).open(bench.path(0));
    let params = bench.store.files[0].len();
    drop(read_at(&file.unwrap(), 0, params));
    nix::mount::umount2(&bench.at(), nix::mount::MntFlags::MNT_DETACH).unwrap();
    drop(serving.join().unwrap());
    assert!(!bench.is_mounted());
}

/// Sends every write as one line.
struct Lines(std::sync::mpsc::SyncSender<String>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.try_send(String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
