"""HTTP over plain sockets: a client that costs as little as a client can, and the same for all servers.

Bodies go out by sendfile and come in by large reads into one buffer."""

import os
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor

BUFFER_BYTES = 1 << 20
HEAD_BYTES_MAX = 64 << 10
TIMEOUT_SECONDS = 120


class Connection:
    """One kept connection."""

    def __init__(self, host):
        name, port = host.rsplit(":", 1)
        self.host, self.rest = host, b""
        self.socket = socket.create_connection((name, int(port)), TIMEOUT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A blocking socket, which sendfile wants, that still gives up.
        self.socket.settimeout(None)
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            self.socket.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", TIMEOUT_SECONDS, 0))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send_head(self, method, target, headers, length=None):
        lines = [f"{method} {target} HTTP/1.1", f"host: {self.host}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if length is not None:
            lines.append(f"content-length: {length}")
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())

    def answer(self, sink=None, method="GET"):
        """The status of the answer to `method` and the length of its body, which `sink` gets piece by piece."""
        lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in
                  (line.partition(":") for line in lines[1:])}
        if method == "HEAD":
            length = 0
        elif fields.get("transfer-encoding") == "chunked":
            length = self._chunks(sink)
        else:
            length = int(fields.get("content-length", 0))
            self._body(length, sink)
        return int(lines[0].split()[1]), length

    def _until(self, end):
        """What comes before `end`."""
        while end not in self.rest:
            piece = self.socket.recv(HEAD_BYTES_MAX)
            if not piece or len(self.rest) > 2 * HEAD_BYTES_MAX:
                raise OSError("the connection ended within an answer")
            self.rest += piece
        head, _, self.rest = self.rest.partition(end)
        return head

    def _chunks(self, sink):
        length = 0
        while size := int(self._until(b"\r\n").split(b";")[0], 16):
            self._body(size, sink)
            self._until(b"\r\n")
            length += size
        while self._until(b"\r\n"):
            pass
        return length

    def _body(self, length, sink):
        first, self.rest = self.rest[:length], self.rest[length:]
        if sink and first:
            sink(first)
        left = length - len(first)
        buffer = memoryview(bytearray(min(left, BUFFER_BYTES)))
        while left:
            count = self.socket.recv_into(buffer[:left])
            if not count:
                raise OSError(f"the connection ended {left} bytes before the body")
            if sink:
                sink(buffer[:count])
            left -= count


def put(system, key, file, span=None):
    """Seconds in which the bytes `span` of `file` went up, from the connection to the answer."""
    at, end = span or (0, os.path.getsize(file))
    headers = system.headers("PUT", key)
    with open(file, "rb") as source:
        begun = time.monotonic()
        with Connection(system.host) as connection:
            connection.send_head("PUT", system.path(key), headers, end - at)
            while at < end:
                at += os.sendfile(connection.socket.fileno(), source.fileno(), at, end - at)
            status, _ = connection.answer()
        seconds = time.monotonic() - begun
    expect(system, "PUT", key, status, 200)
    return seconds


def get(system, key, sink=None, span=None):
    """Seconds in which the bytes `span` of an object came down."""
    headers = system.headers("GET", key)
    if span:
        headers = {**headers, "range": f"bytes={span[0]}-{span[1]}"}
    begun = time.monotonic()
    with Connection(system.host) as connection:
        connection.send_head("GET", system.plain_target(key), headers)
        status, length = connection.answer(sink)
    seconds = time.monotonic() - begun
    expect(system, "GET", key, status, 206 if span else 200)
    if span and length != span[1] - span[0] + 1:
        raise RuntimeError(f"{system.name}: GET {key}: {length} bytes")
    return seconds


def read(system, key, span=None):
    """The bytes of an object."""
    pieces = []
    get(system, key, lambda piece: pieces.append(bytes(piece)), span)
    return b"".join(pieces)


def together(calls):
    """Seconds in which all `calls`, one thread each, are done."""
    with ThreadPoolExecutor(len(calls)) as pool:
        begun = time.monotonic()
        for call in [pool.submit(call) for call in calls]:
            call.result()
        return time.monotonic() - begun


def expect(system, method, key, status, wanted):
    if status != wanted:
        raise RuntimeError(f"{system.name}: {method} {key}: status {status}")
