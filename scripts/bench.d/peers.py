"""The servers that ReadVault is compared with, each as it comes: their defaults, on one node."""

import json
import secrets
import subprocess

from systems import BUCKET, System, free_port


class SeaweedFs(System):
    name = "SeaweedFS"

    def __init__(self, directory):
        super().__init__(directory)
        self.ports = {part: free_port() for part in ("master", "volume", "filer")}
        self.grpc = {part: free_port() for part in ("master", "volume", "filer", "s3")}
        identity = {"name": "bench", "credentials": [{"accessKey": "bench", "secretKey": "benchbench"}],
                    "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
        (self.dir / "s3.json").write_text(json.dumps({"identities": [identity]}))
        (self.dir / "data").mkdir()

    def command(self):
        command = ["weed", "server", f"-dir={self.dir / 'data'}", "-ip=127.0.0.1", "-filer", "-s3",
                   f"-s3.port={self.port}", f"-s3.config={self.dir / 's3.json'}", "-volume.max=100",
                   "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]
        command += [f"-{part}.port={port}" for part, port in self.ports.items()]
        return command + [f"-{part}.port.grpc={port}" for part, port in self.grpc.items()]

    def version(self):
        told = subprocess.run(["weed", "version"], capture_output=True, text=True).stdout
        return f"SeaweedFS {told.split()[2]}"

    def ready(self):
        # The gateway listens before volumes can be written: a bucket and an object tell.
        if self.status("GET", "/") is None or self.make_bucket() not in (200, 409):
            return False
        path = self.path("ready")
        return self.status("PUT", path, self.signer().headers("PUT", path), b"ready") == 200

    def keys(self):
        return "bench", "benchbench"


class Garage(System):
    name = "Garage"
    access, secret = "GK" + "0123456789ab" * 2, "0123456789abcdef" * 4

    def __init__(self, directory):
        super().__init__(directory)
        rpc = f"127.0.0.1:{free_port()}"
        (self.dir / "garage.toml").write_text(f"""
metadata_dir = "{self.dir}/meta"
data_dir = "{self.dir}/data"
db_engine = "lmdb"
replication_factor = 1
rpc_bind_addr = "{rpc}"
rpc_public_addr = "{rpc}"
rpc_secret = "{secrets.token_hex(32)}"
[s3_api]
s3_region = "us-east-1"
api_bind_addr = "{self.host}"
""")
        (self.dir / "garage.toml").chmod(0o600)

    def command(self):
        return ["garage", "-c", str(self.dir / "garage.toml"), "server", "--single-node", "--default-bucket"]

    def env(self):
        return {"GARAGE_DEFAULT_ACCESS_KEY": self.access, "GARAGE_DEFAULT_SECRET_KEY": self.secret,
                "GARAGE_DEFAULT_BUCKET": BUCKET, "RUST_LOG": "warn"}

    def version(self):
        told = subprocess.run(["garage", "--version"], capture_output=True, text=True).stdout
        return f"Garage {told.split()[1].removeprefix('cargo:')}"

    def ready(self):
        path = self.path("ready")
        return self.status("PUT", path, self.signer().headers("PUT", path), b"ready") == 200

    def keys(self):
        return self.access, self.secret
