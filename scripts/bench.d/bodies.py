"""The rows about bodies: in each round every system starts on an empty directory, is measured, checked
and removed."""

import functools
import hashlib
import os
import random
import time

import client
import load
from client import together

STREAMS = 4
UPLOADS = 64
SMALL_OBJECTS = 60_000
GET_OBJECTS = 10_000
RANGE_CHECKS = 32
SMALL_CHECKS = 64


class Sizes:
    """Bytes of the bodies of a run."""

    def __init__(self, quick):
        self.large = (128 if quick else 512) << 20
        self.stream = (64 if quick else 512) << 20
        self.parts = (128 if quick else 1024) << 20
        self.upload = (4 if quick else 16) << 20


class Bodies:
    """The files that are uploaded: random bytes, so that nothing is deduplicated or compressed."""

    def __init__(self, directory, sizes):
        self.sizes = sizes
        self.large = self.file(directory / "large", sizes.large)
        self.streams = [self.file(directory / f"stream-{n}", sizes.stream) for n in range(STREAMS)]
        self.parts = self.file(directory / "parts", sizes.parts)
        # Not the bytes that an upload before had: ReadVault would know them.
        self.uploads = self.file(directory / "uploads", UPLOADS * sizes.upload)
        self.filler = self.file(directory / "filler", load.SMALL_BYTES)
        self.digests = {path: file_digest(path) for path in (self.large, *self.streams, self.parts)}

    @staticmethod
    def file(path, length):
        with open(path, "wb") as file:
            for _ in range(0, length, 1 << 20):
                file.write(os.urandom(min(length, 1 << 20)))
        return path


class Turn:
    """One system's turn of one round."""

    def __init__(self, number, system, bodies, figures, seconds):
        self.number, self.system, self.bodies, self.figures = number, system, bodies, figures
        self.wrk = load.Wrk(bodies.large.parent, seconds, bodies.filler)

    def measure(self):
        self.system.start()
        try:
            stored = self.write() if self.system.writes else self.lay_out()
            self.read(stored)
            if self.system.writes:
                self.rate("put_parts", self.bodies.sizes.parts,
                          load.aws_copy(self.system, "parts", self.bodies.parts))
            self.check(stored)
            if self.system.writes:
                self.many_uploads()
        finally:
            self.system.remove()

    def measure_writes_only(self):
        """For a server that keeps nothing."""
        self.system.start()
        try:
            self.put_large()
        finally:
            self.system.remove()

    def write(self):
        self.put_large()
        keys = [f"small/{index:06}" for index in range(1, SMALL_OBJECTS + 1)]
        result = self.wrk.run(self.system, "put", self.system.targets("PUT", keys))
        self.run("put_small", result)
        # Requests of the list were sent in order; the last few may have been cut off by the end.
        return keys[:result["requests"] - 2 * load.CONNECTIONS]

    def put_large(self):
        system, bodies = self.system, self.bodies
        self.rate("put_1", bodies.sizes.large, client.put(system, "large", bodies.large))
        calls = [functools.partial(client.put, system, path.name, path) for path in bodies.streams]
        self.rate("put_4", STREAMS * bodies.sizes.stream, together(calls))

    def lay_out(self):
        """Plain files of the same bytes."""
        root = self.system.dir / "www"
        for path in (self.bodies.large, *self.bodies.streams):
            os.link(path, root / path.name)
        tail = self.bodies.filler.read_bytes()[16:]
        keys = [f"small/{index:06}" for index in range(1, GET_OBJECTS + 1)]
        (root / "small").mkdir()
        for index, name in enumerate(keys, 1):
            (root / name).write_bytes(b"%016d" % index + tail)
        return keys

    def read(self, stored):
        system, sizes = self.system, self.bodies.sizes
        # The second of two, so that every system answers from memory.
        client.get(system, "large")
        self.rate("get_1", sizes.large, client.get(system, "large"))
        calls = [functools.partial(client.get, system, path.name) for path in self.bodies.streams]
        together(calls)
        self.rate("get_4", STREAMS * sizes.stream, together(calls))
        target = system.targets("GET", ["large"])
        self.warm_run("range", "range", target, sizes.large)
        self.warm_run("get_small", "get", system.targets("GET", stored[:GET_OBJECTS]))

    def warm_run(self, row, kind, targets, number=0):
        self.wrk.run(self.system, kind, targets, number, self.number, seconds=1)
        self.run(row, self.wrk.run(self.system, kind, targets, number, self.number))

    def check(self, stored):
        """The bytes that come back are those that went in."""
        system, bodies = self.system, self.bodies
        whole = [bodies.large, *bodies.streams] + [bodies.parts] * system.writes
        for path in whole:
            digest = hashlib.sha256()
            client.get(system, path.name, digest.update)
            self.same(digest.digest(), bodies.digests[path], path.name)
        draw = random.Random(self.number)
        with open(bodies.large, "rb") as source:
            for _ in range(RANGE_CHECKS):
                at = draw.randrange(bodies.sizes.large - load.RANGE_BYTES)
                source.seek(at)
                got = client.read(system, "large", (at, at + load.RANGE_BYTES - 1))
                self.same(got, source.read(load.RANGE_BYTES), f"large at {at}")
        tail = bodies.filler.read_bytes()[16:]
        for at in draw.sample(range(len(stored)), SMALL_CHECKS):
            self.same(client.read(system, stored[at]), b"%016d" % (at + 1) + tail, stored[at])

    def many_uploads(self):
        """The peak of memory while many large bodies come in at once."""
        size, source = self.bodies.sizes.upload, self.bodies.uploads
        self.system.memory.reset()
        together([functools.partial(client.put, self.system, f"upload-{n}", source, (n * size, (n + 1) * size))
                  for n in range(UPLOADS)])
        self.figures.add(self.system.name, "memory", self.system.memory.peak())
        with open(source, "rb") as file:
            for n in (0, UPLOADS - 1):
                file.seek(n * size)
                self.same(client.read(self.system, f"upload-{n}"), file.read(size), f"upload-{n}")

    def same(self, got, wanted, what):
        if got != wanted:
            raise RuntimeError(f"{self.system.name}: {what}: the bytes differ")

    def rate(self, row, length, seconds):
        self.figures.add(self.system.name, row, length / seconds)

    def run(self, row, result):
        self.figures.add(self.system.name, row, result["rate"])
        self.figures.add(self.system.name, f"{row}_p99", result["p99_us"])


class Disk:
    """What the disk does by itself: the same bytes written and synced, and one small append after another."""

    name = "disk"

    def __init__(self, directory):
        self.dir = directory

    def measure(self, sizes, figures):
        block = os.urandom(1 << 20)
        seconds = together([lambda: self.write("disk-0", sizes.large, block)])
        figures.add(self.name, "put_1", sizes.large / seconds)
        calls = [functools.partial(self.write, f"disk-{n}", sizes.stream, block) for n in range(STREAMS)]
        figures.add(self.name, "put_4", STREAMS * sizes.stream / together(calls))
        with open(self.dir / "disk-0", "wb", buffering=0) as file:
            begun, count = time.monotonic(), 200
            for _ in range(count):
                file.write(block[:load.SMALL_BYTES])
                os.fdatasync(file.fileno())
        figures.add(self.name, "sync_us", (time.monotonic() - begun) / count * 1e6)
        for n in range(STREAMS):
            (self.dir / f"disk-{n}").unlink()

    def write(self, name, length, block):
        with open(self.dir / name, "wb", buffering=0) as file:
            for _ in range(0, length, len(block)):
                file.write(block)
            os.fdatasync(file.fileno())


def file_digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
