//! Imports through the real program: verification, confinement, publication.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod images {
    pub(crate) mod layout;
}

use std::{
    fs,
    io::Write,
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use images::layout::{Layer, Layout};
use readvault_exec_protocol::agent::Language;
use readvault_workflow_exec::images::{ImageError, ImageLimits, ImageStore};
use tempfile::TempDir;

struct Bench {
    directory: TempDir,
    store: ImageStore,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory.path().join("store"));
        Self { directory, store }
    }

    fn layout(&self, layout: &Layout) -> std::path::PathBuf {
        let path = self.directory.path().join("layout");
        let _ = fs::remove_dir_all(&path);
        layout.write(&path);
        path
    }

    fn refusal(&self, path: &Path) -> String {
        let refused = self.store.import(path, "x:1").unwrap_err();
        assert!(self.store.list().unwrap().is_empty(), "something became visible");
        assert_eq!(count(&self.directory.path().join("store/trees")), 0);
        assert_eq!(count(&self.directory.path().join("store/staging")), 0);
        refused.to_string()
    }
}

fn open(root: &Path) -> ImageStore {
    let program = Path::new(env!("CARGO_BIN_EXE_readvault-exec"));
    ImageStore::open(root).unwrap().with_unpacker(program)
}

fn count(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}

fn two_layers() -> Layout {
    Layout::new(vec![
        Layer::gzip(&[("bin/", ""), ("bin/tool", "first"), ("etc/", ""), ("etc/old", "x")]),
        Layer::zstd(&[("etc/.wh.old", ""), ("bin/tool", "second")]),
        Layer::plain(&[("etc/new", "y")]),
    ])
}

#[test]
fn an_image_is_imported_named_used_and_removed() {
    let bench = Bench::new();
    let path = bench.layout(&two_layers());
    let record = bench.store.import(&path, "tools:1").unwrap();
    assert_eq!(record.name, "tools:1");
    let rootfs = bench.store.rootfs(&record.digest).unwrap();
    assert_eq!(fs::read_to_string(rootfs.join("bin/tool")).unwrap(), "second");
    assert!(!rootfs.join("etc/old").exists());
    assert_eq!(fs::read_to_string(rootfs.join("etc/new")).unwrap(), "y");
    let status = fs::metadata(rootfs.join("bin/tool")).unwrap();
    assert_eq!((status.uid(), status.mode() & 0o7777), (nix::unistd::geteuid().as_raw(), 0o755));
    assert_eq!(record.bytes, 7);

    let environment = bench.store.config(&record.digest).unwrap();
    let environment = environment.config().as_ref().unwrap().env().clone().unwrap();
    assert_eq!(environment, ["PATH=/bin"]);
    for reference in ["tools:1", &record.digest, &format!("any/name@{}", record.digest)] {
        assert_eq!(bench.store.resolve(reference).unwrap().digest, record.digest, "{reference}");
    }
    assert!(matches!(bench.store.resolve("tools"), Err(ImageError::NotFound(_))));

    // Another process sees the same, and a second import changes nothing but the name.
    let other = open(&bench.directory.path().join("store"));
    assert_eq!(other.import(&path, "tools").unwrap().digest, record.digest);
    assert_eq!(other.list().unwrap().len(), 2);
    bench.store.set_engine(Language::Wdl, &record.digest).unwrap();
    assert_eq!(other.engine(Language::Wdl).unwrap().unwrap().digest, record.digest);
    assert!(other.engine(Language::Cwl).unwrap().is_none());

    bench.store.remove("tools:1").unwrap();
    assert!(rootfs.exists());
    assert!(matches!(bench.store.remove("tools:latest"), Err(ImageError::InUse)));
    let second = Layout::new(vec![Layer::plain(&[("f", "")])]);
    let second = bench.store.import(&bench.layout(&second), "engine:2").unwrap();
    bench.store.set_engine(Language::Wdl, &second.digest).unwrap();
    bench.store.remove(&record.digest).unwrap();
    assert!(!rootfs.exists());
    assert!(matches!(bench.store.resolve(&record.digest), Err(ImageError::NotFound(_))));
}

#[test]
fn a_tag_means_the_newest_import_and_a_layout_may_be_a_tar() {
    let bench = Bench::new();
    let first = bench.store.import(&bench.layout(&two_layers()), "t:1").unwrap();
    let path = bench.layout(&Layout::new(vec![Layer::gzip(&[("only", "this")])]));
    let tar = bench.directory.path().join("layout.tar");
    let mut builder = tar::Builder::new(fs::File::create(&tar).unwrap());
    builder.append_dir_all(".", &path).unwrap();
    builder.finish().unwrap();
    let second = bench.store.import(&tar, "t:1").unwrap();
    assert_ne!(first.digest, second.digest);
    assert_eq!(bench.store.resolve("t:1").unwrap().digest, second.digest);
    assert_eq!(bench.store.resolve(&first.digest).unwrap().digest, first.digest);
}

#[test]
fn every_digest_counts() {
    let bench = Bench::new();
    let layout = two_layers();
    let blobs = layout.blobs();
    assert_eq!(blobs.len(), 5);
    for blob in &blobs {
        let path = bench.layout(&layout);
        let file = path.join("blobs/sha256").join(blob);
        let mut bytes = fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&file, &bytes).unwrap();
        let said = bench.refusal(&path);
        assert!(said.contains("another digest"), "{said}");
        bytes.truncate(middle);
        fs::write(&file, &bytes).unwrap();
        assert!(bench.refusal(&path).contains("bytes instead of"));
        fs::remove_file(&file).unwrap();
        assert!(bench.refusal(&path).contains("has no blobs/sha256/"));
    }
    let wrong = Layout { diff_id_of_last: Some("0".repeat(64)), ..two_layers() };
    assert!(bench.refusal(&bench.layout(&wrong)).contains("another diff id"));
}

#[test]
fn hostile_layouts_leave_nothing() {
    let bench = Bench::new();
    for (layer, named) in [
        (Layer::plain(&[("../up", "")]), "'..'"),
        (Layer::gzip(&[("/root", "")]), "absolute"),
        (Layer::gzip(&[("out -> /", ""), ("out/tmp/escaped", "")]), "through a link"),
        (Layer::plain(&[("a", "")]).broken(), "cksum"),
        (Layer::typed("application/vnd.oci.image.layer.nondistributable.v1.tar"), "media type"),
    ] {
        let said = bench.refusal(&bench.layout(&Layout::new(vec![layer])));
        assert!(said.contains(named), "{named}: {said}");
    }
    let none = bench.refusal(&bench.layout(&Layout::new(Vec::new())));
    assert!(none.contains("0 layers"), "{none}");
    let foreign = Layout { architecture: "s390x", ..two_layers() };
    assert!(bench.refusal(&bench.layout(&foreign)).contains("architecture"));

    let path = bench.layout(&two_layers());
    fs::write(path.join("index.json"), "{").unwrap();
    assert!(bench.refusal(&path).contains("index.json"));
    let path = bench.layout(&two_layers());
    fs::remove_file(path.join("oci-layout")).unwrap();
    assert!(bench.refusal(&path).contains("oci-layout"));
    fs::write(path.join("file"), vec![7; 2000]).unwrap();
    assert!(bench.refusal(&path.join("file")).contains("neither a directory nor a tar"));
    // A link in place of a file of the layout is not followed.
    let path = bench.layout(&two_layers());
    fs::rename(path.join("index.json"), path.join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", path.join("index.json")).unwrap();
    bench.refusal(&path);
    for name in ["", "../x", "a:b:c", "sha256:1"] {
        let refused = bench.store.import(&path, name);
        assert!(matches!(refused, Err(ImageError::BadReference(_))), "{name}");
    }
}

#[test]
fn bombs_end_at_the_limit() {
    let mut bench = Bench::new();
    let limits = ImageLimits { entries_max: 100, bytes_max: 1 << 20, ratio_max: 64 };
    bench.store = bench.store.with_limits(limits);
    let big = "0".repeat((1 << 20) + 1);
    let said = bench.refusal(&bench.layout(&Layout::new(vec![Layer::gzip(&[("big", &big)])])));
    assert!(said.contains("larger than the limit"), "{said}");
    let names: Vec<String> = (0..101).map(|number| format!("f{number}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    let said = bench.refusal(&bench.layout(&Layout::new(vec![Layer::zstd(&many)])));
    assert!(said.contains("larger than the limit"), "{said}");
    // Zeros after the end of the archive are no entries, and still counted.
    let mut endless = Layer::plain(&[("f", "")]);
    endless.pad(64 << 20);
    let said = bench.refusal(&bench.layout(&Layout::new(vec![endless.gzipped()])));
    assert!(said.contains("larger than the limit"), "{said}");
}

#[test]
fn what_a_crash_left_is_swept() {
    let bench = Bench::new();
    let record = bench.store.import(&bench.layout(&two_layers()), "t:1").unwrap();
    let staging = bench.directory.path().join("store/staging");
    fs::create_dir_all(staging.join("0000/rootfs/etc")).unwrap();
    fs::File::create(staging.join("catalog.json")).unwrap().write_all(b"{").unwrap();
    let again = open(&bench.directory.path().join("store"));
    assert_eq!(count(&staging), 0);
    assert_eq!(again.resolve("t:1").unwrap(), record);
}

#[test]
fn a_store_that_others_may_write_to_is_not_opened() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("store");
    fs::create_dir(&root).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(&root, open).unwrap();
    assert!(matches!(ImageStore::open(&root), Err(ImageError::Damaged(_))));
}

/// What `/proc` says of a process that waits for its layer.
#[test]
fn the_unpacking_process_has_nothing_to_lose() {
    if !nix::unistd::geteuid().is_root() {
        return; // only root can give up being root
    }
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("rootfs");
    fs::create_dir(&root).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_readvault-exec"))
        .args(["unpack", "--root", root.to_str().unwrap(), "--compression", "none"])
        .args(["--bytes", "1000000", "--entries", "1000"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let of = |file: &str| Path::new("/proc").join(child.id().to_string()).join(file);
    let mut status = String::new();
    for _ in 0..500 {
        status = fs::read_to_string(of("status")).unwrap();
        if status.contains("Seccomp:\t2") {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    for line in [
        "Uid:\t1879048191\t1879048191\t1879048191\t1879048191",
        "Gid:\t1879048191\t1879048191\t1879048191\t1879048191",
        "Groups:\t \n",
        "CapPrm:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(status.contains(line), "{line}: {status}");
    }
    assert_eq!(fs::read_link(of("root")).unwrap(), root);
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    assert_ne!(fs::read_link(of("ns/net")).unwrap(), own);
    let limits = fs::read_to_string(of("limits")).unwrap();
    assert!(limits.contains("Max core file size        0                    0"), "{limits}");
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("{\"applied\""));
}

/// Layouts that `scripts/image` wrote, below the directory that `READVAULT_TEST_LAYOUTS` names.
#[test]
fn layouts_of_this_project_are_imported() {
    let Some(layouts) = std::env::var_os("READVAULT_TEST_LAYOUTS") else { return };
    let bench = Bench::new();
    for (name, program) in [("tools", "usr/bin/samtools"), ("engine-wdl", "usr/local/bin/miniwdl")]
    {
        let record = bench.store.import(&Path::new(&layouts).join(name), name).unwrap();
        let rootfs = bench.store.rootfs(&record.digest).unwrap();
        assert!(rootfs.join(program).is_file(), "{program}");
        assert!(record.bytes > 50 << 20, "{record:?}");
    }
}
