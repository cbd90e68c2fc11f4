"""ReadVault over catalogs of growing size: what should be flat, and how soon it is ready after a kill."""

import datetime
import hashlib
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import time

import client
import report
from sign import query_text
from systems import ReadVault

PAGE = 100
KEYS = 1000
RESTARTS = 3
# Read sets that are asked for one by one.
KNOWN = 5000
ACCOUNT = "000000000000"
PER_SAMPLE = 4
PER_SUBJECT = 40
WARM_REQUESTS = 50
# The row's key and its name.
ROWS = [
    ("first", "ListReadSets, first page of 100"),
    ("deep", "ListReadSets, page of 100 in the middle"),
    ("sample", "ListReadSets of one sample (4 read sets)"),
    ("subject", "ListReadSets of one subject (40 read sets)"),
    ("time", "ListReadSets created within 50 s (49 read sets)"),
    ("before", "ListReadSets created in the first 50 s (50 read sets)"),
    ("active", "ListReadSets that are ACTIVE, first page of 100"),
    ("metadata", "GetReadSetMetadata"),
    ("get", "GetReadSet, part 1"),
    ("alias", "ListObjectsV2 of the store's bucket, 1,000 keys from anywhere"),
    ("head", "HeadObject in the store's bucket"),
]


def run(sizes, directory, machine, requests):
    """Fills and measures a vault of each size; the tables."""
    found = {}
    for size in sizes:
        print(f"{size} read sets", file=sys.stderr, flush=True)
        system = ReadVault(directory)
        try:
            filled = fill(system, size)
            found[size] = {"fill_seconds": filled["seconds"], **starts(system)}
            found[size].update(Measured(system, filled, requests).rows())
        finally:
            system.remove()
    return text(found, machine, requests)


def fill(system, size):
    """Fills the vault, then kills the program as a loss of power would; what it said of the store."""
    program = pathlib.Path(os.environ["READVAULT_BIN"]) / "examples" / "fill_vault"
    with open(system.dir / "log", "ab") as log:
        filler = subprocess.Popen([program, system.dir / "data", str(size)], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=log)
        line = filler.stdout.readline()
        filler.kill()
        filler.wait()
    if not line:
        raise RuntimeError((system.dir / "log").read_text()[-2000:])
    return json.loads(line)


def starts(system):
    """Seconds until the server is ready: after the filler was killed, then after it was killed itself."""
    def ready():
        return system.status("GET", "/_rv/ready") == 200

    begun = time.monotonic()
    system.spawn()
    system.wait(ready, 0.005)
    first = time.monotonic() - begun
    later = [system.restart(ready) for _ in range(RESTARTS)]
    return {"start_after_fill": first, "restart": statistics.median(later), "restart_most": max(later)}


class Measured:
    """One filled vault under a client with one connection."""

    def __init__(self, system, filled, requests):
        self.system, self.filled, self.requests = system, filled, requests
        self.omics, self.s3 = system.signer("omics"), system.signer()
        self.connection = client.Connection(system.host)
        self.draw = random.Random(1)

    def rows(self):
        """Of each row the median and the 99th percentile, in microseconds."""
        self.known, self.middle = self.walk()
        found = {}
        for row, _ in ROWS:
            ask = getattr(self, f"ask_{row}")
            for _ in range(WARM_REQUESTS):
                ask()
            micros = sorted(ask() for _ in range(self.requests))
            found[row] = (micros[len(micros) // 2], micros[len(micros) * 99 // 100])
        self.connection.socket.close()
        found["memory"] = self.system.memory.peak()
        return found

    def walk(self):
        """Some read sets of each page of the first half of the list, as many together at every size, so that
        caches help every size alike; and the token of the middle."""
        known, token = [], None
        pages = self.filled["read_sets"] // 2 // PAGE
        for _ in range(pages):
            answer = self.listed({}, token)[1]
            known += self.draw.sample(answer["readSets"], min(PAGE, max(1, KNOWN // pages)))
            token = answer["nextToken"]
        return known, token

    def timed(self, method, path, query, headers, body=b""):
        """The microseconds of one request, and the bytes of its answer."""
        target, pieces = f"{path}?{query}" if query else path, []
        begun = time.perf_counter()
        self.connection.send_head(method, target, headers, len(body) if body else None)
        if body:
            self.connection.socket.sendall(body)
        status, _ = self.connection.answer(lambda piece: pieces.append(bytes(piece)), method)
        micros = (time.perf_counter() - begun) * 1e6
        if status != 200:
            raise RuntimeError(f"{method} {target}: {status} {b''.join(pieces)[:300]}")
        return micros, b"".join(pieces)

    def got(self, path, query=""):
        """A GET of the HealthOmics API."""
        headers = self.omics.headers("GET", path, query, hashlib.sha256(b"").hexdigest())
        return self.timed("GET", path, query, headers)

    def listed(self, filter_, token=None):
        path = f"/sequencestore/{self.filled['store']}/readsets"
        query = query_text({"maxResults": PAGE} | ({"nextToken": token} if token else {}))
        body = json.dumps({"filter": filter_}).encode()
        headers = self.omics.headers("POST", path, query, hashlib.sha256(body).hexdigest())
        micros, answer = self.timed("POST", path, query, headers, body)
        return micros, json.loads(answer)

    def expect(self, filter_, count, token=None):
        """The microseconds of a list that has `count` read sets; another page follows full ones only."""
        micros, answer = self.listed(filter_, token)
        more = answer.get("nextToken") is not None
        if len(answer["readSets"]) != count or more != (count == PAGE):
            raise RuntimeError(f"{filter_}: {len(answer['readSets'])} read sets, more: {more}")
        return micros

    def number(self):
        """The number, from 0, of some read set that was made."""
        return self.draw.randrange(self.filled["read_sets"] - PER_SUBJECT)

    def at(self, number):
        """When the read set of this number was made."""
        seconds = (self.filled["first_ms"] + number * self.filled["apart_ms"]) / 1000
        at = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
        return at.isoformat(timespec="milliseconds")

    def ask_first(self):
        return self.expect({}, PAGE)

    def ask_deep(self):
        return self.expect({}, PAGE, self.middle)

    def ask_sample(self):
        return self.expect({"sampleId": f"sample{self.number() // PER_SAMPLE:08}"}, PER_SAMPLE)

    def ask_subject(self):
        return self.expect({"subjectId": f"subject{self.number() // PER_SUBJECT:07}"}, PER_SUBJECT)

    def ask_time(self):
        after = self.number() // 2
        return self.expect({"createdAfter": self.at(after), "createdBefore": self.at(after + 50)}, 49)

    def ask_before(self):
        return self.expect({"createdBefore": self.at(50)}, 50)

    def ask_active(self):
        return self.expect({"status": "ACTIVE"}, PAGE)

    def ask_metadata(self):
        one = self.draw.choice(self.known)
        micros, answer = self.got(f"/sequencestore/{self.filled['store']}/readset/{one['id']}/metadata")
        self.same(json.loads(answer)["name"], one["name"])
        return micros

    def ask_get(self):
        one = self.draw.choice(self.known)
        path = f"/sequencestore/{self.filled['store']}/readset/{one['id']}"
        micros, answer = self.got(path, "file=SOURCE1&partNumber=1")
        number = int(one["name"].removeprefix("run"))
        self.same(answer, f"@read {number}\nACGT\n+\nIIII\n".encode())
        return micros

    def ask_alias(self):
        one = self.draw.choice(self.known)
        query = query_text({"list-type": 2, "max-keys": KEYS, "start-after": self.key(one)})
        path = f"/{self.filled['alias']}"
        micros, answer = self.timed("GET", path, query, self.s3.headers("GET", path, query))
        self.same(answer.count(b"<Key>"), KEYS)
        return micros

    def ask_head(self):
        path = f"/{self.filled['alias']}/{self.key(self.draw.choice(self.known))}"
        return self.timed("HEAD", path, "", self.s3.headers("HEAD", path))[0]

    def key(self, one):
        store = self.filled["store"]
        return f"{ACCOUNT}/sequenceStore/{store}/readSet/{one['id']}/{one['name']}_source1.fastq.gz"

    def same(self, got, wanted):
        if got != wanted:
            raise RuntimeError(f"{got} came instead of {wanted}")


def text(found, machine, requests):
    sizes = list(found)
    head = ["figure", *(f"{size:,} read sets" for size in sizes), "last ÷ first"]
    lines = []
    for row, name in ROWS:
        cells = ["{:,.0f} / {:,.0f}".format(*found[size][row]) for size in sizes]
        lines.append([name, *cells, f"{found[sizes[-1]][row][0] / found[sizes[0]][row][0]:.2f}"])
    whole = []
    for key, name, scale in (
            ("restart", "kill -9 of the server to ready, median of 3, s", 1),
            ("restart_most", "the longest of them, s", 1),
            ("start_after_fill", "kill -9 of the filling program to ready, s", 1),
            ("memory", "peak memory, all processes, MiB", 1 << 20),
            ("fill_seconds", "time to fill, s", 1)):
        cells = [f"{found[size][key] / scale:,.2f}" for size in sizes]
        whole.append([name, *cells, "-"])
    return "\n".join([
        *machine.lines(), f"- {requests} requests of each kind over one kept connection, signed in their headers",
        "", *report.table(head, lines), "",
        "Median / 99th percentile of the time of an answer, µs; \"last ÷ first\" compares medians.", "",
        *report.table(head, whole)])
