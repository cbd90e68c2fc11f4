"""The rows about many objects: each system is filled once and measured in every round."""

import random
import re

import client
import load
from systems import BUCKET

PAGE_KEYS = 1000
OBJECT_BYTES = 64
# Of one run of wrk: it lasts its time, even when it has sent all.
FILL_SECONDS = 3
FILL_KEYS = 20_000
PAGE_CHECKS = 8
KEY = re.compile(rb"<Key>([^<]*)</Key>")


class Filled:
    """One system with many small objects."""

    def __init__(self, system, objects, directory, seconds):
        self.system, self.objects = system, objects
        filler = directory / f"filler-{OBJECT_BYTES}"
        filler.write_bytes(b"x" * OBJECT_BYTES)
        self.body = filler.read_bytes()
        self.wrk = load.Wrk(directory, seconds, filler)

    def key(self, index):
        return f"keys/{index:08}"

    def fill(self):
        """Starts the system and puts every object. What the end of a run of wrk may have cut off is sent
        again by the next."""
        self.system.start()
        done, cut_off = 0, 2 * load.CONNECTIONS
        while done + 4 * cut_off < self.objects:
            last = min(self.objects, done + FILL_KEYS)
            keys = [self.key(index) for index in range(done + 1, last + 1)]
            targets = self.system.targets("PUT", keys)
            result = self.wrk.run(self.system, "put", targets, done, seconds=FILL_SECONDS)
            done += max(0, result["requests"] - cut_off)
        for index in range(done + 1, self.objects + 1):
            self.put(index)
        self.check_pages()

    def put(self, index):
        with client.Connection(self.system.host) as connection:
            headers = self.system.headers("PUT", self.key(index))
            connection.send_head("PUT", self.system.path(self.key(index)), headers, OBJECT_BYTES)
            connection.socket.sendall(self.wanted(index))
            status, _ = connection.answer()
        client.expect(self.system, "PUT", self.key(index), status, 200)

    def wanted(self, index):
        return b"%016d" % index + self.body[16:]

    def page(self, number):
        """The request line of one page, presigned."""
        parameters = {"list-type": 2, "max-keys": PAGE_KEYS, "prefix": "keys/"}
        if number:
            parameters["start-after"] = self.key(number * PAGE_KEYS)
        return self.system.signer().presigned("GET", f"/{BUCKET}", parameters)

    def check_pages(self):
        pages = self.objects // PAGE_KEYS
        for number in sorted({0, pages - 1, *random.Random(0).sample(range(pages), min(pages, PAGE_CHECKS))}):
            pieces = []
            with client.Connection(self.system.host) as connection:
                connection.send_head("GET", self.page(number), {})
                status, _ = connection.answer(lambda piece: pieces.append(bytes(piece)))
            client.expect(self.system, "LIST", number, status, 200)
            first = number * PAGE_KEYS + 1
            wanted = [self.key(index).encode() for index in range(first, first + PAGE_KEYS)]
            if KEY.findall(b"".join(pieces)) != wanted:
                raise RuntimeError(f"{self.system.name}: page {number} holds other keys")

    def measure(self, figures):
        pages = [self.page(number) for number in range(self.objects // PAGE_KEYS)]
        self.wrk.run(self.system, "get", pages, seconds=1)
        result = self.wrk.run(self.system, "get", pages)
        figures.add(self.system.name, "list", result["rate"] * PAGE_KEYS)
        figures.add(self.system.name, "list_p99", result["p99_us"])
        figures.add(self.system.name, "restart", self.system.restart(self.serves))
        self.check_pages()

    def serves(self):
        """Whether the right bytes of an object come back."""
        try:
            return client.read(self.system, self.key(self.objects)) == self.wanted(self.objects)
        except (OSError, RuntimeError):
            return False
