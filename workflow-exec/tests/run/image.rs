//! OCI layouts made from a static busybox: small images for real containers.

use std::{fs, path::Path};

use sha2::{Digest, Sha256};

/// A file of an image: path, mode, bytes.
pub(crate) type Entry<'a> = (&'a str, u32, Vec<u8>);

/// Where Debian's `busybox-static` puts its program.
const BUSYBOX: &str = "/bin/busybox";

/// Names under which busybox is found.
const APPLETS: &[&str] = &[
    "sh", "cat", "ls", "wc", "echo", "sleep", "id", "mount", "umount", "ln", "mkdir", "cp", "rm",
    "touch", "head", "tail", "dd", "grep", "sed", "tr", "true", "false", "kill", "ps", "env",
    "mknod", "chmod", "hostname", "ip", "nc", "unshare", "awk", "cut", "stat", "find", "sort",
    "seq", "tee", "test", "printf", "readlink", "mv", "expr", "df", "nproc", "chroot",
];

/// Whether the images can be made here.
pub(crate) fn possible() -> bool {
    Path::new(BUSYBOX).exists()
}

/// Writes a layout with busybox and `more` into `dir`.
pub(crate) fn layout(dir: &Path, more: &[Entry<'_>]) {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("a directory");
    let layer = layer(more);
    let diff = digest(&layer);
    put(&blobs, &layer);
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "config": { "Env": ["PATH=/bin"], "Cmd": ["sh"],
                    "Labels": { "org.opencontainers.image.version": "0.0.1" } },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{diff}")] },
    });
    let config = serde_json::to_vec(&config).expect("json");
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json",
                    "digest": format!("sha256:{}", digest(&config)), "size": config.len() },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar",
                     "digest": format!("sha256:{diff}"), "size": layer.len() }],
    });
    let manifest = serde_json::to_vec(&manifest).expect("json");
    put(&blobs, &config);
    put(&blobs, &manifest);
    let index = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{ "mediaType": "application/vnd.oci.image.manifest.v1+json",
                        "digest": format!("sha256:{}", digest(&manifest)),
                        "size": manifest.len() }],
    });
    fs::write(dir.join("index.json"), serde_json::to_vec(&index).expect("json")).expect("written");
    fs::write(dir.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#).expect("written");
}

fn layer(more: &[Entry<'_>]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, mode) in [("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777), ("root", 0o700)] {
        let mut header = header(tar::EntryType::Directory, mode, 0);
        tar.append_data(&mut header, name, &[][..]).expect("appended");
    }
    let busybox = fs::read(BUSYBOX).expect("busybox");
    let mut file = |name: &str, mode: u32, bytes: &[u8]| {
        let mut header = header(tar::EntryType::Regular, mode, bytes.len() as u64);
        tar.append_data(&mut header, name, bytes).expect("appended");
    };
    file("bin/busybox", 0o755, &busybox);
    file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n");
    for (name, mode, bytes) in more {
        file(name, *mode, bytes);
    }
    for applet in APPLETS {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox").expect("appended");
    }
    tar.into_inner().expect("finished")
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn put(blobs: &Path, bytes: &[u8]) {
    fs::write(blobs.join(digest(bytes)), bytes).expect("written");
}
