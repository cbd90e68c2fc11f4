"""A PostgreSQL server for a test: its own directory and unix socket, no port; ended by its process id."""

import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile
import time

# Debian's user for PostgreSQL, which refuses to run as root.
USER = "postgres"


def binaries():
    """The programs of the newest version installed, or None."""
    versions = pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb")
    found = sorted(versions, key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


class Cluster:
    def __init__(self):
        self.bin = binaries()
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="rv-pg-", dir="/tmp"))
        # The server of a vault started by root has a user of its own, which must reach the socket.
        self.home.chmod(0o711)
        self.identity = {}
        if os.geteuid() == 0:
            user = pwd.getpwnam(USER)
            os.chown(self.home, user.pw_uid, user.pw_gid)
            self.identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self.server = None
        self.databases = 0
        self.run(
            "initdb", "-U", "readvault", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync",
            "-D", self.home / "data",
        )
        self.start()

    def run(self, program, *arguments):
        subprocess.run(
            [str(part) for part in (self.bin / program, *arguments)], check=True,
            cwd=self.home, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, **self.identity,
        )

    def start(self):
        with open(self.home / "log", "ab") as log:
            self.server = subprocess.Popen(
                [self.bin / "postgres", "-D", self.home / "data", "-k", self.home,
                 "-c", "listen_addresses=", "-c", "shared_buffers=32MB"],
                cwd=self.home, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self.identity,
            )
        ready = [self.bin / "pg_isready", "-q", "-h", self.home]
        deadline = time.monotonic() + 30
        while subprocess.run(ready).returncode != 0:
            if time.monotonic() > deadline:
                raise RuntimeError((self.home / "log").read_text(errors="replace"))
            time.sleep(0.05)
        return self

    def database(self):
        """The URL of a new, empty database."""
        name = f"vault{self.databases}"
        self.databases += 1
        self.run("createdb", "-h", self.home, "-U", "readvault", name)
        return f"postgresql://readvault@/{name}?host={self.home}"

    def dump(self, name):
        """All of a database as text, as its administrator reads it."""
        command = [self.bin / "pg_dump", "-h", self.home, "-U", "readvault", name]
        return subprocess.run(command, check=True, capture_output=True).stdout

    def stop(self, how=signal.SIGINT):
        """SIGINT ends it in order, SIGQUIT as a crash would."""
        if self.server and self.server.poll() is None:
            self.server.send_signal(how)
            self.server.wait()

    def close(self):
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)
