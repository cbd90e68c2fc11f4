#!/usr/bin/env python3
"""Writes an OCI image layout with one layer from the tar on standard input.

    layout.py OUT NAME:TAG ARCHITECTURE EPOCH < rootfs.tar

OUT must not exist; it appears complete or not at all. The same tar gives the same digests.
"""

import datetime
import gzip
import hashlib
import json
import os
import shutil
import sys
import tempfile

PIECE_BYTES = 1 << 20
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class HashingWriter:
    """Passes bytes on to a file and remembers their SHA-256 and number."""

    def __init__(self, file):
        self.file = file
        self.hash = hashlib.sha256()
        self.length = 0

    def write(self, piece):
        self.hash.update(piece)
        self.length += len(piece)
        return self.file.write(piece)

    def flush(self):
        self.file.flush()

    def digest(self):
        return "sha256:" + self.hash.hexdigest()


def write_layer(blobs, source):
    """Compresses the tar into a blob; returns its descriptor and the digest of the plain tar."""
    plain = hashlib.sha256()
    partial = os.path.join(blobs, "partial")
    with open(partial, "wb") as file:
        target = HashingWriter(file)
        # No name and no time in the header, so that equal tars compress to equal blobs.
        with gzip.GzipFile("", "wb", 6, target, mtime=0) as packed:
            while piece := source.read(PIECE_BYTES):
                plain.update(piece)
                packed.write(piece)
    os.rename(partial, os.path.join(blobs, target.hash.hexdigest()))
    media = "application/vnd.oci.image.layer.v1.tar+gzip"
    layer = {"mediaType": media, "digest": target.digest(), "size": target.length}
    return layer, "sha256:" + plain.hexdigest()


def write_json(blobs, media, value):
    """Writes a JSON blob; returns its descriptor."""
    content = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    name = hashlib.sha256(content).hexdigest()
    with open(os.path.join(blobs, name), "wb") as file:
        file.write(content)
    return {"mediaType": media, "digest": "sha256:" + name, "size": len(content)}


def write_layout(layout, name, architecture, epoch, source):
    """Writes the whole layout into the directory `layout`."""
    blobs = os.path.join(layout, "blobs", "sha256")
    os.makedirs(blobs)
    layer, diff_id = write_layer(blobs, source)
    moment = datetime.datetime.fromtimestamp(epoch, datetime.timezone.utc)
    created = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    config = write_json(
        blobs,
        "application/vnd.oci.image.config.v1+json",
        {
            "architecture": architecture,
            "os": "linux",
            "created": created,
            "config": {"Env": ["PATH=" + PATH, "LANG=C.UTF-8"], "Cmd": ["/bin/bash"]},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": created, "created_by": "scripts/image " + name}],
        },
    )
    manifest_media = "application/vnd.oci.image.manifest.v1+json"
    manifest = write_json(
        blobs,
        manifest_media,
        {
            "schemaVersion": 2,
            "mediaType": manifest_media,
            "config": config,
            "layers": [layer],
        },
    )
    manifest["annotations"] = {"org.opencontainers.image.ref.name": name}
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [manifest],
    }
    with open(os.path.join(layout, "index.json"), "w") as file:
        json.dump(index, file, sort_keys=True)
    with open(os.path.join(layout, "oci-layout"), "w") as file:
        json.dump({"imageLayoutVersion": "1.0.0"}, file)
    return manifest["digest"]


def main():
    out, name, architecture, epoch = sys.argv[1:]
    parent = os.path.dirname(os.path.abspath(out))
    staging = tempfile.mkdtemp(prefix=".layout-", dir=parent)
    try:
        digest = write_layout(staging, name, architecture, int(epoch), sys.stdin.buffer)
        os.chmod(staging, 0o755)
        os.rename(staging, out)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    print(digest)


if __name__ == "__main__":
    main()
