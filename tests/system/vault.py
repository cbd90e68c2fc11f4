"""A real vault for a test: starts readvaultd on a port and directory of its own, and ends it."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.request

import boto3
import botocore.config

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(
    os.environ.get("READVAULT_BIN")
    or pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
)
CORPUS = pathlib.Path(os.environ.get("READVAULT_CORPUS", ROOT.parent / "shared" / "data"))
LONG = bool(os.environ.get("READVAULT_LONG"))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Vault:
    """readvaultd over one data directory; may be killed and started again."""

    def __init__(self, data=None, extra=()):
        self.own_data = data is None
        self.data = pathlib.Path(data or tempfile.mkdtemp(prefix="rv-data-"))
        self.port = free_port()
        self.extra = list(extra)
        self.process = None
        self.log = open(self.data.parent / f"{self.data.name}.log", "ab")

    def start(self, seconds=30):
        command = [str(BIN / "readvaultd"), "serve", "--dev", "--data", str(self.data)]
        command += ["--listen", f"127.0.0.1:{self.port}", *self.extra]
        self.process = subprocess.Popen(
            command, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL
        )
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"readvaultd ended at once:\n{self.tail()}")
            try:
                with urllib.request.urlopen(f"{self.url}/_rv/health", timeout=1) as answer:
                    if answer.status == 200:
                        self.read_env()
                        return self
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"readvaultd did not become ready:\n{self.tail()}")

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def read_env(self):
        text = (self.data / "dev.env").read_text()
        pairs = (line.removeprefix("export ").split("=", 1) for line in text.splitlines())
        self.env = {name: value.strip("'") for name, value in pairs}

    def shell_env(self):
        keep = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        return {**keep, **self.env, "AWS_EC2_METADATA_DISABLED": "true",
                "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
                "XDG_STATE_HOME": str(self.data.parent / f"{self.data.name}.state")}

    def client(self, service, **config):
        config.setdefault("inject_host_prefix", False)
        config.setdefault("retries", {"max_attempts": 1})
        if service == "s3":
            config.setdefault("s3", {"addressing_style": "path"})
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=self.env["AWS_DEFAULT_REGION"],
            aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
            config=botocore.config.Config(**config),
        )

    def run(self, *command, check=True, **options):
        """Runs a client with the settings of dev.env and nothing else of AWS."""
        result = subprocess.run(
            [str(part) for part in command], env=self.shell_env(), capture_output=True, text=True,
            timeout=options.pop("timeout", 300), **options,
        )
        if check and result.returncode != 0:
            raise AssertionError(f"{command}: exit {result.returncode}\n{result.stdout}{result.stderr}")
        return result

    def readvault(self, *arguments, **options):
        return self.run(BIN / "readvault", *arguments, **options)

    def kill(self):
        """SIGKILL, as a power cut would end it."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, seconds=45):
        """SIGTERM, and the exit code."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise
        return self.process.returncode if self.process else None

    def close(self):
        try:
            self.stop()
        finally:
            self.log.close()
            if self.own_data:
                stat = os.stat(self.data)
                name = f"{stat.st_dev:x}-{stat.st_ino:x}"
                shutil.rmtree(f"/var/lib/readvault-exec/{name}", ignore_errors=True)
                shutil.rmtree(f"/run/readvault-{name}", ignore_errors=True)
                shutil.rmtree(self.data, ignore_errors=True)
                shutil.rmtree(f"{self.data}.state", ignore_errors=True)
                pathlib.Path(f"{self.data}.log").unlink(missing_ok=True)

    def tail(self, lines=30):
        text = (self.data.parent / f"{self.data.name}.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()


class VaultCase(unittest.TestCase):
    """Tests that share one vault, and its S3 and HealthOmics clients."""

    @classmethod
    def make_vault(cls):
        return Vault()

    @classmethod
    def setUpClass(cls):
        cls.vault = cls.make_vault().start()
        cls.addClassCleanup(cls.vault.close)
        cls.s3 = cls.vault.client("s3")
        cls.omics = cls.vault.client("omics")


def wait_for(get, seconds=60, step=0.1):
    """The first value of `get` that is not None."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = get()
        if value is not None:
            return value
        time.sleep(step)
    raise AssertionError("it did not happen in time")
