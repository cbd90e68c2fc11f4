"""Sends what no SDK sends: forged, damaged and cut requests. Usage: raw_requests.py ENDPOINT."""

import base64
import hashlib
import hmac
import http.client
import os
import sys
import urllib.parse
import zlib
from datetime import datetime, timezone

ENDPOINT = urllib.parse.urlsplit(sys.argv[1])
HOST = ENDPOINT.netloc
KEY = os.environ["AWS_ACCESS_KEY_ID"]
SECRET = os.environ["AWS_SECRET_ACCESS_KEY"]
BUCKET = "raw-requests"
EMPTY = hashlib.sha256(b"").hexdigest()


def mac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Signer:
    """SigV4 for one request, and for the chunks of its body."""

    def __init__(self, region="us-east-1", service="s3", secret=SECRET):
        self.stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        self.scope = f"{self.stamp[:8]}/{region}/{service}/aws4_request"
        key = f"AWS4{secret}".encode()
        for text in self.scope.split("/"):
            key = mac(key, text)
        self.key = key

    def sign(self, method, path, query, headers, payload):
        headers = {name.lower(): value for name, value in headers.items()}
        headers |= {"host": HOST, "x-amz-date": self.stamp, "x-amz-content-sha256": payload}
        names = sorted(headers)
        canonical = "\n".join([
            method, urllib.parse.quote(path), query,
            *[f"{name}:{headers[name].strip()}" for name in names], "", ";".join(names), payload,
        ])
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = "\n".join(["AWS4-HMAC-SHA256", self.stamp, self.scope, digest])
        self.signature = mac(self.key, text).hex()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={KEY}/{self.scope}, "
            f"SignedHeaders={';'.join(names)}, Signature={self.signature}"
        )
        return headers

    def chunk(self, data):
        hashed = hashlib.sha256(data).hexdigest()
        text = "\n".join(
            ["AWS4-HMAC-SHA256-PAYLOAD", self.stamp, self.scope, self.signature, EMPTY, hashed]
        )
        self.signature = mac(self.key, text).hex()
        return f"{len(data):x};chunk-signature={self.signature}\r\n".encode() + data + b"\r\n"

    def trailer(self, line):
        hashed = hashlib.sha256(line + b"\n").hexdigest()
        text = "\n".join(
            ["AWS4-HMAC-SHA256-TRAILER", self.stamp, self.scope, self.signature, hashed]
        )
        return mac(self.key, text).hex()


def send(method, path, headers, body=b"", query=""):
    connection = http.client.HTTPConnection(HOST, timeout=20)
    target = urllib.parse.quote(path) + (f"?{query}" if query else "")
    connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    if "content-length" not in headers:
        connection.putheader("content-length", str(len(body)))
    connection.endheaders()
    connection.send(body)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, text


def code(text):
    return text.split(b"<Code>")[1].split(b"</Code>")[0].decode() if b"<Code>" in text else ""


def request(method, path, body=b"", headers=None, payload=None, signer=None, query=""):
    payload = payload or hashlib.sha256(body).hexdigest()
    signed = (signer or Signer()).sign(method, path, query, headers or {}, payload)
    return send(method, path, signed, body, query)


def expect(answer, status, name=None):
    assert answer[0] == status and (name is None or code(answer[1]) == name), (answer, status, name)


def absent(key):
    expect(request("GET", f"/{BUCKET}/{key}"), 404, "NoSuchKey")


def stored(key, body):
    answer = request("GET", f"/{BUCKET}/{key}")
    assert answer == (200, body), (answer[0], len(answer[1]))


def signatures():
    expect(request("PUT", f"/{BUCKET}"), 200)
    expect(request("PUT", f"/{BUCKET}/source", b"source"), 200)
    expect(request("GET", f"/{BUCKET}/source", signer=Signer(secret="wrong")), 403, "SignatureDoesNotMatch")
    expect(request("GET", f"/{BUCKET}/source", signer=Signer(region="mars-east-1")), 400)
    for service in ["omics", "sts", "bogus"]:
        assert request("GET", f"/{BUCKET}/source", signer=Signer(service=service))[0] in (400, 403, 501)
    expect(send("GET", f"/{BUCKET}/source", {"host": HOST}), 403, "AccessDenied")
    headers = Signer().sign("GET", f"/{BUCKET}/source", "", {"x-amz-security-token": "x"}, EMPTY)
    expect(send("GET", f"/{BUCKET}/source", headers), 400, "InvalidToken")
    headers = Signer().sign("PUT", f"/{BUCKET}/target", "", {}, EMPTY)
    headers["x-amz-copy-source"] = f"/{BUCKET}/source"
    expect(send("PUT", f"/{BUCKET}/target", headers), 403, "AccessDenied")
    absent("target")
    headers = Signer().sign("PUT", f"/{BUCKET}/target", "", {}, hashlib.sha256(b"x").hexdigest())
    headers["x-amz-tagging"] = "a=b"
    expect(send("PUT", f"/{BUCKET}/target", headers, b"x"), 403, "AccessDenied")
    absent("target")


def damaged_bodies():
    signed = hashlib.sha256(b"as signed").hexdigest()
    expect(
        request("PUT", f"/{BUCKET}/target", b"tampered!", payload=signed), 400, "XAmzContentSHA256Mismatch"
    )
    absent("target")
    crc = base64.b64encode(zlib.crc32(b"other").to_bytes(4, "big")).decode()
    expect(request("PUT", f"/{BUCKET}/target", b"x", {"x-amz-checksum-crc32": crc}), 400, "BadDigest")
    expect(request("PUT", f"/{BUCKET}/target", b"x", {"x-amz-checksum-crc32": "AA=="}), 400, "InvalidDigest")
    md5 = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    expect(request("PUT", f"/{BUCKET}/target", b"x", {"content-md5": md5}), 400, "BadDigest")
    expect(request("PUT", f"/{BUCKET}/target", b"x", {"content-md5": "nonsense"}), 400, "InvalidDigest")
    absent("target")
    headers = Signer().sign("PUT", f"/{BUCKET}/target", "", {}, "UNSIGNED-PAYLOAD")
    headers["content-length"] = "1000"
    try:
        connection = http.client.HTTPConnection(HOST, timeout=20)
        connection.request("PUT", f"/{BUCKET}/target", b"cut", headers)
        connection.sock.shutdown(1)
        connection.getresponse().read()
    except (http.client.HTTPException, OSError):
        pass
    absent("target")
    for path in [f"/{BUCKET}/a/../../b", f"/{BUCKET}/./x", f"/{BUCKET}/..", f"/{BUCKET}//x"]:
        expect(request("PUT", path, b"x"), 400)


def signed_chunks():
    data = bytes(range(256)) * 1024
    pieces = [data[at:at + 8192] for at in range(0, len(data), 8192)]
    headers = {"content-encoding": "aws-chunked,gzip", "x-amz-decoded-content-length": str(len(data))}

    def put(key, damage=lambda body: body):
        signer = Signer()
        payload = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
        signed = signer.sign("PUT", f"/{BUCKET}/{key}", "", headers, payload)
        chunks = [signer.chunk(piece) for piece in pieces] + [signer.chunk(b"")]
        return send("PUT", f"/{BUCKET}/{key}", signed, b"".join(damage(chunks)))

    expect(put("chunked"), 200)
    stored("chunked", data)
    # Without the last, empty chunk all bytes of the signed length are there and verified: s3s takes it.
    if put("unended", lambda chunks: chunks[:-1])[0] == 200:
        stored("unended", data)
    flip = lambda chunks: [chunks[0], chunks[1].replace(b"\x00\x01", b"\x00\x02", 1), *chunks[2:]]
    for damage in [
        flip,
        lambda chunks: [chunks[1], chunks[0], *chunks[2:]],
        lambda chunks: [*chunks[:5], *chunks[6:]],
        lambda chunks: chunks[:-2],
        lambda chunks: [*chunks[:-1], chunks[-1].replace(b"0;", b"5;")],
        lambda chunks: [chunk.replace(b"chunk-signature=", b"x=") for chunk in chunks],
    ]:
        assert put("target", damage)[0] in (400, 403)
        absent("target")


def unsigned_chunks():
    data = b"0123456789abcdef" * 65536
    crc = base64.b64encode(zlib.crc32(data).to_bytes(4, "big"))
    wrong = base64.b64encode(zlib.crc32(b"x").to_bytes(4, "big"))

    def put(key, value, size=512, announce="x-amz-checksum-crc32"):
        headers = {
            "content-encoding": "aws-chunked", "x-amz-decoded-content-length": str(len(data)),
            "x-amz-trailer": announce,
        }
        payload = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
        signed = Signer().sign("PUT", f"/{BUCKET}/{key}", "", headers, payload)
        body = b"".join(
            f"{len(data[at:at + size]):x}\r\n".encode() + data[at:at + size] + b"\r\n"
            for at in range(0, len(data), size)
        )
        trailer = b"x-amz-checksum-crc32:" + value + b"\r\n" if value else b""
        return send("PUT", f"/{BUCKET}/{key}", signed, body + b"0\r\n" + trailer + b"\r\n")

    for size in [512, 65536, len(data)]:
        expect(put("unsigned", crc, size), 200)
        stored("unsigned", data)
    expect(put("target", wrong), 400, "BadDigest")
    expect(put("target", b"nonsense"), 400, "InvalidDigest")
    assert put("target", b"")[0] == 400
    absent("target")


def signed_trailer():
    data = b"trailing" * 10000
    crc = base64.b64encode(zlib.crc32(data).to_bytes(4, "big"))

    def put(key, forge=False):
        signer = Signer()
        headers = {
            "content-encoding": "aws-chunked", "x-amz-decoded-content-length": str(len(data)),
            "x-amz-trailer": "x-amz-checksum-crc32",
        }
        payload = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
        signed = signer.sign("PUT", f"/{BUCKET}/{key}", "", headers, payload)
        body = b"".join(signer.chunk(data[at:at + 8192]) for at in range(0, len(data), 8192))
        body += signer.chunk(b"")[:-2]
        line = b"x-amz-checksum-crc32:" + crc
        signature = "0" * 64 if forge else signer.trailer(line)
        body += line + b"\r\nx-amz-trailer-signature:" + signature.encode() + b"\r\n\r\n"
        return send("PUT", f"/{BUCKET}/{key}", signed, body)

    expect(put("trailer"), 200)
    stored("trailer", data)
    assert put("target", forge=True)[0] in (400, 403)
    absent("target")


for step in [signatures, damaged_bodies, signed_chunks, unsigned_chunks, signed_trailer]:
    step()
    print("ok", step.__name__, flush=True)
