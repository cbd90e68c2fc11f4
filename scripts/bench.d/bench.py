"""Runs the rounds: in each, every system is started, measured, checked and stopped, in turning order."""

import argparse
import hashlib
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import load
import report
from systems import Nginx, ReadVault, SeaweedFs

LARGE_BYTES = 512 << 20
WARM_BYTES = 6 << 30
SMALL_OBJECTS = 60_000
GET_OBJECTS = 10_000
RANGE_CHECKS = 32
SMALL_CHECKS = 64
SYSTEMS = {"readvault": ReadVault, "seaweedfs": SeaweedFs, "nginx": Nginx}


def main():
    arguments = parse()
    # An orderly end, so that no server is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    directory = pathlib.Path(tempfile.mkdtemp(prefix="readvault-bench-", dir=arguments.dir))
    systems = {}
    try:
        directory.chmod(0o755)
        systems = {name: SYSTEMS[name](directory) for name in arguments.only.split(",")}
        figures = report.Figures()
        warm_memory(directory)
        for number in range(arguments.rounds):
            one_round(number, list(systems.values()), directory, arguments.seconds, figures)
        print(report.text(figures, arguments, directory))
    finally:
        for system in systems.values():
            if system.process and system.process.poll() is None:
                system.stop()
        shutil.rmtree(directory, ignore_errors=True)


def parse():
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=6, help="of each run of wrk")
    parser.add_argument("--dir", default=os.environ.get("READVAULT_BENCH_DIR", "/var/tmp"),
                        help="where the data directories are made; not tmpfs")
    parser.add_argument("--only", default="readvault,seaweedfs,nginx")
    return parser.parse_args()


def one_round(number, systems, directory, seconds, figures):
    large, filler = directory / "large", directory / "filler"
    random_file(large, LARGE_BYTES)
    random_file(filler, load.SMALL_BYTES)
    subprocess.run(["sync"], check=True)
    disk(directory, figures)
    turn = number % len(systems)
    for system in systems[turn:] + systems[:turn]:
        say(f"round {number + 1}: {system.name}")
        subprocess.run(["sync"], check=True)
        round_ = Round(number, system, directory, seconds, figures)
        round_.measure(large, filler)
    large.unlink()


def warm_memory(directory):
    """Touches as much memory as the run will use for cached files: on a virtual machine the first use of
    a page may wait for the host, and whoever ran first would pay for it."""
    random_file(directory / "warm", WARM_BYTES)
    (directory / "warm").unlink()


def disk(directory, figures):
    """What the disk does: writing and syncing the large body, and syncing one small append after another."""
    block, path = os.urandom(1 << 20), directory / "disk"
    begun = time.monotonic()
    with open(path, "wb") as file:
        for _ in range(LARGE_BYTES >> 20):
            file.write(block)
        file.flush()
        os.fdatasync(file.fileno())
    figures.add("disk", "put_large", LARGE_BYTES / (time.monotonic() - begun))
    with open(path, "wb", buffering=0) as file:
        begun, count = time.monotonic(), 200
        for _ in range(count):
            file.write(block[:load.SMALL_BYTES])
            os.fdatasync(file.fileno())
    figures.add("disk", "sync_us", (time.monotonic() - begun) / count * 1e6)
    path.unlink()


class Round:
    """One system's turn."""

    def __init__(self, number, system, directory, seconds, figures):
        self.number, self.system, self.dir = number, system, directory
        self.figures = figures
        self.wrk = load.Wrk(directory, seconds, directory / "filler")

    def measure(self, large, filler):
        system, key = self.system, f"large-{self.number}"
        system.start()
        try:
            if system.writes:
                if self.number == 0 and system.name == "readvault":
                    system.make_bucket()
                self.add("put_large", LARGE_BYTES / load.put_large(system, key, large))
                stored = self.put_small()
            else:
                stored = self.lay_out(large, key, filler)
            # The second of two, so that every system answers from memory.
            load.get_large(system, key)
            self.add("get_large", LARGE_BYTES / load.get_large(system, key))
            target = [system.target("GET", key)]
            self.wrk.run(system, "range", target, LARGE_BYTES, self.number, seconds=1)
            self.add_run("range", self.wrk.run(system, "range", target, LARGE_BYTES, self.number))
            self.get_small(stored)
            self.check(large, key, filler, stored)
        finally:
            self.add("memory", system.stop())

    def small_keys(self):
        return [f"small-{self.number}/{index:06}" for index in range(1, SMALL_OBJECTS + 1)]

    def put_small(self):
        keys = self.small_keys()
        sign = self.system.signer()
        targets = [sign.presigned("PUT", self.system.path(key)) for key in keys]
        result = self.wrk.run(self.system, "put", targets, load.SMALL_BYTES, self.number)
        self.add_run("put_small", result)
        # Requests of the list were sent in order; the last few may have been cut off by the end.
        return keys[:result["requests"] - 2 * load.CONNECTIONS]

    def lay_out(self, large, key, filler):
        """Plain files of the same bytes."""
        root = self.system.dir / "www"
        os.link(large, root / key)
        tail, keys = filler.read_bytes()[16:], self.small_keys()[:GET_OBJECTS]
        (root / f"small-{self.number}").mkdir()
        for index, name in enumerate(keys, 1):
            (root / name).write_bytes(b"%016d" % index + tail)
        return keys

    def get_small(self, stored):
        stored = stored[:GET_OBJECTS]
        if self.system.writes:
            sign = self.system.signer()
            targets = [sign.presigned("GET", self.system.path(key)) for key in stored]
        else:
            targets = [self.system.target("GET", key) for key in stored]
        self.wrk.run(self.system, "get", targets, 0, self.number, seconds=1)
        self.add_run("get_small", self.wrk.run(self.system, "get", targets, 0, self.number))

    def check(self, large, key, filler, stored):
        """The bytes that come back are those that went in."""
        got = self.dir / "got"
        load.fetch(self.system, key, got)
        self.same(digest(got), digest(large), key)
        draw = random.Random(self.number)
        with open(large, "rb") as source:
            for _ in range(RANGE_CHECKS):
                at = draw.randrange(LARGE_BYTES - load.RANGE_BYTES)
                load.fetch(self.system, key, got, (at, at + load.RANGE_BYTES - 1))
                source.seek(at)
                self.same(got.read_bytes(), source.read(load.RANGE_BYTES), f"{key} at {at}")
        tail = filler.read_bytes()[16:]
        for _ in range(SMALL_CHECKS):
            at = draw.randrange(len(stored))
            load.fetch(self.system, stored[at], got)
            self.same(got.read_bytes(), b"%016d" % (at + 1) + tail, stored[at])
        got.unlink()

    def same(self, got, wanted, what):
        if got != wanted:
            raise RuntimeError(f"{self.system.name}: {what}: the bytes differ")

    def add(self, row, value):
        self.figures.add(self.system.name, row, value)

    def add_run(self, row, result):
        self.add(row, result["rate"])
        self.add(f"{row}_p99", result["p99_us"])


def random_file(path, length):
    with open(path, "wb") as file:
        for _ in range(0, length, 1 << 20):
            file.write(os.urandom(min(length, 1 << 20)))


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def say(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
