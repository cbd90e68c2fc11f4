"""The servers that are measured: each can be started and stopped again on the same directory."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

from sign import Signer

BUCKET = "bench"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class PeakMemory(threading.Thread):
    """Follows VmHWM of a process and of all that descend from it."""

    def __init__(self, root):
        super().__init__(daemon=True)
        self.root, self.peaks, self.ended = root, {}, threading.Event()

    def run(self):
        while not self.ended.wait(0.2):
            self.look()

    def look(self):
        for pid in descendants(self.root):
            try:
                status = pathlib.Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            for line in status.splitlines():
                if line.startswith("VmHWM:"):
                    self.peaks[pid] = max(self.peaks.get(pid, 0), int(line.split()[1]) * 1024)

    def finish(self):
        self.look()
        self.ended.set()
        self.join()
        return sum(self.peaks.values())


def descendants(root):
    parents = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, open_ = [], [root]
    while open_:
        pid = open_.pop()
        found.append(pid)
        open_.extend(parents.get(pid, []))
    return found


class System:
    """One server over one directory."""

    name = ""
    writes = True

    def __init__(self, directory):
        self.dir = pathlib.Path(directory) / self.name
        self.dir.mkdir(parents=True)
        self.port = free_port()
        self.process = None

    @property
    def host(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        with open(self.dir / "log", "ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **self.env()})
        self.memory = PeakMemory(self.process.pid)
        self.memory.start()
        deadline = time.monotonic() + 60
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                tail = (self.dir / "log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self.name} did not start:\n{tail}")
            time.sleep(0.1)

    def stop(self):
        """Ends the server; the peak of its memory in bytes."""
        peak = self.memory.finish()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        return peak

    def env(self):
        return {}

    def answers(self, path):
        try:
            with urllib.request.urlopen(f"http://{self.host}{path}", timeout=2) as answer:
                return answer.status
        except urllib.error.HTTPError as refused:
            return refused.code
        except OSError:
            return None

    def path(self, key):
        return f"/{BUCKET}/{key}"

    def target(self, method, key):
        """What stands in the request line."""
        return self.signer().presigned(method, self.path(key))

    def headers(self, method, key):
        return self.signer().headers(method, self.path(key))

    def signer(self):
        access, secret = self.keys()
        return Signer(access, secret, self.host)

    def make_bucket(self):
        path = f"/{BUCKET}"
        request = urllib.request.Request(f"http://{self.host}{path}", method="PUT",
                                         headers=self.signer().headers("PUT", path))
        with urllib.request.urlopen(request, timeout=30):
            pass


class ReadVault(System):
    name = "readvault"

    def command(self):
        program = str(pathlib.Path(os.environ["READVAULT_BIN"]) / "readvaultd")
        return [program, "serve", "--dev", "--data", str(self.dir / "data"), "--listen", self.host]

    def ready(self):
        return self.answers("/_rv/health") == 200

    def keys(self):
        pairs = {}
        for line in (self.dir / "data" / "dev.env").read_text().splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            pairs[name] = value.strip("'\"")
        return pairs["AWS_ACCESS_KEY_ID"], pairs["AWS_SECRET_ACCESS_KEY"]


class SeaweedFs(System):
    name = "seaweedfs"

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

    def ready(self):
        # The gateway listens before volumes can be written: a bucket and an object tell.
        if self.answers("/") is None:
            return False
        try:
            self.make_bucket()
        except urllib.error.HTTPError as refused:
            if refused.code != 409:
                return False
        except OSError:
            return False
        path = self.path("ready")
        request = urllib.request.Request(f"http://{self.host}{path}", method="PUT", data=b"ready",
                                         headers=self.signer().headers("PUT", path))
        try:
            with urllib.request.urlopen(request, timeout=30):
                return True
        except OSError:
            return False

    def keys(self):
        return "bench", "benchbench"


class Nginx(System):
    """Sends the plain files, unsigned.

    `tcp_nopush` stays off, as it is by default: on, every range waits 40 ms for a delayed
    acknowledgement."""

    name = "nginx"
    writes = False

    def __init__(self, directory):
        super().__init__(directory)
        (self.dir / "www").mkdir()
        self.dir.chmod(0o755)
        (self.dir / "nginx.conf").write_text(f"""
daemon off;
user root;
worker_processes auto;
pid {self.dir}/pid;
error_log {self.dir}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 100000000;
    open_file_cache max=100000 inactive=10m;
    client_body_temp_path {self.dir}/body;
    proxy_temp_path {self.dir}/proxy;
    fastcgi_temp_path {self.dir}/fastcgi;
    uwsgi_temp_path {self.dir}/uwsgi;
    scgi_temp_path {self.dir}/scgi;
    server {{ listen {self.host}; root {self.dir}/www; }}
}}
""")

    def command(self):
        return ["/usr/sbin/nginx", "-e", str(self.dir / "error.log"),
                "-c", str(self.dir / "nginx.conf")]

    def ready(self):
        return self.answers("/") is not None

    def target(self, method, key):
        return f"/{key}"

    def headers(self, method, key):
        return {}
