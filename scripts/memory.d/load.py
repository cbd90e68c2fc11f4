"""Raw HTTP over sockets: presigned uploads and downloads as fast as one process can drive them."""

import os
import socket
import struct

CHUNK = 1 << 20
FILLER = os.urandom(CHUNK)


def _exchange(sock, head):
    sock.sendall(head.encode())


def _answer(sock):
    """Status and headers, and what of the body came with them."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            raise ConnectionError("the server closed the connection")
        data += piece
    head, rest = data.split(b"\r\n\r\n", 1)
    lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
    return int(lines[0].split(" ")[1]), headers, rest


def connect(port):
    sock = socket.create_connection(("127.0.0.1", port))
    sock.settimeout(300)
    return sock


def put(port, target, length, stream):
    """Uploads `length` bytes whose every MiB differs from all others; the ETag."""
    with connect(port) as sock:
        _exchange(sock, f"PUT {target} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
                        f"content-length: {length}\r\nconnection: close\r\n\r\n")
        filler = memoryview(FILLER)
        salt = os.urandom(16)
        sent = 0
        while sent < length:
            size = min(CHUNK, length - sent)
            mark = salt + struct.pack("<QQ", stream, sent)
            piece = mark[:size]
            sock.sendall(piece)
            sock.sendall(filler[len(piece):size])
            sent += size
        status, headers, rest = _answer(sock)
        if status != 200:
            raise RuntimeError(f"PUT {target}: {status} {rest[:300]}")
        return headers.get("etag", "").strip('"')


def get(port, target):
    """Downloads and counts; the bytes are not kept."""
    with connect(port) as sock:
        _exchange(sock, f"GET {target} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n")
        status, headers, rest = _answer(sock)
        if status != 200:
            raise RuntimeError(f"GET {target}: {status} {rest[:300]}")
        length, got = int(headers["content-length"]), len(rest)
        buffer = bytearray(CHUNK)
        while got < length:
            size = sock.recv_into(buffer)
            if not size:
                raise ConnectionError(f"GET {target}: {got} of {length} bytes")
            got += size
        return got
