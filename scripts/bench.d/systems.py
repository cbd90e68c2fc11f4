"""The servers that are measured: each can be started, killed and started again on the same directory."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

from memory import PeakMemory, kill_all
from sign import Signer

BUCKET = "bench"
START_SECONDS_MAX = 120
STOP_SECONDS = 3


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class System:
    """One server over one directory."""

    name = ""
    writes = True

    def __init__(self, directory):
        self.dir = pathlib.Path(directory) / self.name.replace(" ", "-")
        self.dir.mkdir(parents=True)
        self.port = free_port()
        self.process = None

    @property
    def host(self):
        return f"127.0.0.1:{self.port}"

    def spawn(self):
        with open(self.dir / "log", "ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **self.env()})
        self.memory = PeakMemory(self.process.pid)
        self.memory.start()

    def start(self):
        """Starts the server; returns when it can be written to."""
        self.spawn()
        self.wait(self.ready, 0.1)

    def wait(self, ready, pause):
        deadline = time.monotonic() + START_SECONDS_MAX
        while not ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                tail = (self.dir / "log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self.name} did not start:\n{tail}")
            time.sleep(pause)

    def restart(self, ready):
        """Kills the server as a loss of power would; seconds from its next start until `ready`."""
        self.kill()
        begun = time.monotonic()
        self.spawn()
        self.wait(ready, 0.005)
        return time.monotonic() - begun

    def kill(self):
        self.memory.finish()
        if self.process.poll() is None:
            kill_all(self.process.pid)
            self.process.wait()

    def stop(self):
        """Ends the server: in order if that is soon done (SeaweedFS takes half a minute), else at once."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        self.kill()

    def remove(self):
        """Ends the server, if it runs, and removes its directory."""
        if self.process:
            self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def complaints(self):
        """The last lines of the log that are more than records of requests."""
        lines = (self.dir / "log").read_text(errors="replace").splitlines()
        return "\n".join([line for line in lines if " INFO " not in line][-10:])

    def env(self):
        return {}

    def version(self):
        """What is measured; none when the report says it elsewhere."""
        return None

    def status(self, method, path, headers=None, data=None):
        """The status of a small request; none when there is no answer."""
        request = urllib.request.Request(f"http://{self.host}{path}", method=method, data=data,
                                         headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status
        except urllib.error.HTTPError as refused:
            return refused.code
        except OSError:
            return None

    def path(self, key):
        return f"/{BUCKET}/{key}"

    def plain_target(self, key):
        """What stands in the request line of a request that is signed in its headers, or not at all."""
        return self.path(key)

    def targets(self, method, keys):
        """What stands in the request lines of requests that bear no headers of their own."""
        sign = self.signer()
        return [sign.presigned(method, self.path(key)) for key in keys]

    def headers(self, method, key):
        return self.signer().headers(method, self.path(key))

    def signer(self, service="s3"):
        access, secret = self.keys()
        return Signer(access, secret, self.host, service)

    def make_bucket(self):
        """The status of an attempt to make the bucket: 409 when it exists."""
        path = f"/{BUCKET}"
        return self.status("PUT", path, self.signer().headers("PUT", path))


class ReadVault(System):
    name = "ReadVault"
    extra = ()

    def command(self):
        program = str(pathlib.Path(os.environ["READVAULT_BIN"]) / "readvaultd")
        return [program, "serve", "--dev", "--data", str(self.dir / "data"), "--listen", self.host,
                *self.extra]

    def ready(self):
        return self.status("GET", "/_rv/ready") == 200 and self.make_bucket() in (200, 409)

    def keys(self):
        pairs = {}
        for line in (self.dir / "data" / "dev.env").read_text().splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            pairs[name] = value.strip("'\"")
        return pairs["AWS_ACCESS_KEY_ID"], pairs["AWS_SECRET_ACCESS_KEY"]


class NullStore(ReadVault):
    """ReadVault with packs that keep nothing: what all but the disk can do."""

    name = "null store"
    extra = ("--chunk-store", "null")

    @classmethod
    def exists(cls):
        program = str(pathlib.Path(os.environ["READVAULT_BIN"]) / "readvaultd")
        command = [program, "serve", "--data", "/nonexistent", *cls.extra, "--help"]
        return subprocess.run(command, capture_output=True).returncode == 0


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

    def version(self):
        told = subprocess.run(["/usr/sbin/nginx", "-v"], capture_output=True, text=True).stderr
        return f"nginx {told.strip().rpartition('/')[2]}"

    def ready(self):
        return self.status("GET", "/") is not None

    def plain_target(self, key):
        return f"/{key}"

    def targets(self, method, keys):
        return [f"/{key}" for key in keys]

    def headers(self, method, key):
        return {}
