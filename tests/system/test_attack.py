"""Hostile and broken requests: each gets a precise refusal, and nothing of it stays.

Requests are written by hand, byte for byte, as no client library would send them.
"""

import base64
import contextlib
import datetime
import hashlib
import hmac
import http.client
import io
import json
import os
import pathlib
import re
import socket
import stat
import subprocess
import tempfile
import time
import unittest
import urllib.parse
import zipfile
import zlib

from botocore.exceptions import ClientError

from vault import BIN, Vault, VaultCase, wait_for

EMPTY = hashlib.sha256(b"").hexdigest()
SIGNED_CHUNKS = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
UNSIGNED_CHUNKS = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
OMICS_PREFIXES = ["control-storage-", "storage-", "workflows-", "analytics-", "tags-"]


def mac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def now(seconds=0):
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)


class Signer:
    """AWS Signature Version 4, each part of which can be made wrong."""

    def __init__(self, vault, service="s3", **wrong):
        self.access_key = wrong.pop("access_key", vault.env["AWS_ACCESS_KEY_ID"])
        self.secret = wrong.pop("secret", vault.env["AWS_SECRET_ACCESS_KEY"])
        self.region = wrong.pop("region", vault.env["AWS_DEFAULT_REGION"])
        self.service = service
        self.when = wrong.pop("when", None) or now()
        self.scope_date = wrong.pop("scope_date", self.when.strftime("%Y%m%d"))
        assert not wrong, wrong

    @property
    def date(self):
        return self.when.strftime("%Y%m%dT%H%M%SZ")

    @property
    def scope(self):
        return f"{self.scope_date}/{self.region}/{self.service}/aws4_request"

    def key(self):
        key = mac(("AWS4" + self.secret).encode(), self.scope_date)
        for part in (self.region, self.service, "aws4_request"):
            key = mac(key, part)
        return key

    def seal(self, method, path, query, headers, payload):
        """The signature over `headers`, all of them."""
        if self.service != "s3":
            path = urllib.parse.quote(path, safe="/~")
        fields = sorted((name.lower(), value.strip()) for name, value in headers)
        names = ";".join(name for name, _ in fields)
        canonical = "\n".join([
            method, path, query, *[f"{name}:{value}" for name, value in fields], "", names, payload,
        ])
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        to_sign = "\n".join(["AWS4-HMAC-SHA256", self.date, self.scope, digest])
        return names, mac(self.key(), to_sign).hex()

    def headers(self, host, method, target, extra=(), payload=EMPTY, path=None):
        """All headers of a request, `extra` among them; `path` is signed in place of the target's."""
        own, _, query = target.partition("?")
        path = path or own
        query = "&".join(sorted(f if "=" in f else f + "=" for f in query.split("&"))) if query else ""
        headers = [("host", host), ("x-amz-date", self.date), *extra]
        headers.append(("x-amz-content-sha256", payload))
        names, signature = self.seal(method, path, query, headers, payload)
        SIGNATURES.append(signature)
        value = (
            f"AWS4-HMAC-SHA256 Credential={self.access_key}/{self.scope}, "
            f"SignedHeaders={names}, Signature={signature}"
        )
        return [*headers, ("authorization", value)], signature

    def url(self, host, method, path, expires=300, extra=(), query=()):
        """The target of a presigned URL."""
        names = ";".join(sorted(["host", *[name for name, _ in extra]]))
        fields = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{self.access_key}/{self.scope}",
            "X-Amz-Date": self.date, "X-Amz-Expires": str(expires), "X-Amz-SignedHeaders": names,
            **dict(query),
        }
        quote = lambda text: urllib.parse.quote(text, safe="-_.~")
        query = "&".join(f"{quote(name)}={quote(value)}" for name, value in sorted(fields.items()))
        headers = [("host", host), *extra]
        _, signature = self.seal(method, path, query, headers, "UNSIGNED-PAYLOAD")
        SIGNATURES.append(signature)
        return f"{path}?{query}&X-Amz-Signature={signature}"


# Every signature that was made: none may stand in the server's log.
SIGNATURES = []


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def code(self):
        """The name of the error, in either API's shape."""
        if kind := self.headers.get("x-amzn-errortype"):
            return kind
        found = re.search(rb"<Code>([^<]*)</Code>", self.body)
        return found.group(1).decode() if found else ""

    def __repr__(self):
        return f"{self.status} {self.code} {self.body[:200]!r}"


class Raw(VaultCase):
    """A vault with a bucket, and requests by hand."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.s3.create_bucket(Bucket="bucket")
        cls.secret_body = b"private " * 100
        cls.s3.put_object(Bucket="bucket", Key="private", Body=cls.secret_body)
        cls.host = f"127.0.0.1:{cls.vault.port}"
        cls.store = cls.omics.create_sequence_store(name="store")["id"]

    def tearDown(self):
        """Whatever was sent: the server lives, and only what was put stands in the bucket."""
        listed = self.s3.list_objects_v2(Bucket="bucket").get("Contents", [])
        keys = [item["Key"] for item in listed]
        for key in keys:
            if key != "private":
                self.s3.delete_object(Bucket="bucket", Key=key)
        self.assertEqual(keys, ["private"])
        got = self.s3.get_object(Bucket="bucket", Key="private")
        self.assertEqual(got["Body"].read(), self.secret_body)
        self.assertEqual(got["Metadata"], {})
        self.assertIsNone(self.vault.process.poll(), "the server ended")

    def connect(self, timeout=30):
        return socket.create_connection(("127.0.0.1", self.vault.port), timeout=timeout)

    def send(self, method, target, headers, body=b"", length=True):
        """One request on a connection of its own; `None` when the server closed without an answer."""
        head = [f"{method} {target} HTTP/1.1".encode("latin-1")]
        for name, value in headers:
            value = value if isinstance(value, bytes) else value.encode("latin-1")
            head.append(name.encode() + b": " + value)
        if length:
            head.append(f"content-length: {len(body)}".encode())
        head.append(b"connection: close")
        with self.connect() as link:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                link.sendall(b"\r\n".join(head) + b"\r\n\r\n" + body)
            return self.answer(link, method)

    @staticmethod
    def answer(link, method="GET"):
        response = http.client.HTTPResponse(link, method=method)
        try:
            response.begin()
            return Answer(response)
        except (http.client.HTTPException, ConnectionResetError):
            return None

    def signed(self, method, target, body=b"", extra=(), unsigned=(), service="s3", payload=None,
               host=None, path=None, **wrong):
        """A signed request; `wrong` spoils parts of the signature, `unsigned` is added after it."""
        signer = Signer(self.vault, service, **wrong)
        payload = payload or hashlib.sha256(body).hexdigest()
        headers, _ = signer.headers(host or self.host, method, target, extra, payload, path)
        return self.send(method, target, [*headers, *unsigned], body)

    def json_call(self, method, target, body, **options):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        extra = [("content-type", "application/json")]
        return self.signed(method, target, body, extra, service="omics", **options)

    def refused(self, answer, *status, code=None):
        self.assertIsNotNone(answer, "closed without an answer")
        self.assertIn(answer.status, status, answer)
        if code:
            self.assertEqual(answer.code, code, answer)
        self.assertNotIn(b"private private", answer.body)


class Signatures(Raw):
    def test_the_signer_itself_is_right(self):
        self.assertEqual(self.signed("GET", "/bucket/private").body, self.secret_body)
        self.assertEqual(self.json_call("POST", "/sequencestores", {}).status, 200)
        url = Signer(self.vault).url(self.host, "GET", "/bucket/private")
        self.assertEqual(self.send("GET", url, [("host", self.host)]).body, self.secret_body)

    def test_unsigned_amz_headers_are_refused(self):
        added = [
            ("x-amz-copy-source", "/bucket/private"), ("x-amz-tagging", "a=b"),
            ("x-amz-meta-note", "x"), ("x-amz-acl", "private"), ("x-amz-storage-class", "STANDARD"),
            ("X-Amz-Copy-Source", "/bucket/private"), ("x-amz-security-token", "token"),
            ("x-amz-website-redirect-location", "/x"), ("x-amz-copy-source-range", "bytes=0-1"),
            ("x-amz-metadata-directive", "REPLACE"), ("x-amz-server-side-encryption", "AES256"),
        ]
        for header in added:
            with self.subTest(header[0]):
                self.refused(self.signed("PUT", "/bucket/new", unsigned=[header]), 403)
                url = Signer(self.vault).url(self.host, "PUT", "/bucket/new")
                self.refused(self.send("PUT", url, [("host", self.host), header]), 403)
        answer = self.json_call("POST", "/sequencestores", {}, unsigned=[("x-amz-meta-x", "1")])
        self.refused(answer, 403)

    def test_a_second_value_of_a_signed_header_is_refused(self):
        copy = [("x-amz-copy-source", "/bucket/other")]
        answer = self.signed("PUT", "/bucket/new", extra=copy,
                             unsigned=[("x-amz-copy-source", "/bucket/private")])
        self.refused(answer, 400, 403)
        answer = self.signed("GET", "/bucket/private", unsigned=[("host", "other")])
        self.refused(answer, 400, 403)

    def test_a_tampered_body_stores_nothing(self):
        payload = hashlib.sha256(b"the body").hexdigest()
        answer = self.signed("PUT", "/bucket/new", b"the BODY", payload=payload)
        self.refused(answer, 400, code="XAmzContentSHA256Mismatch")
        big = os.urandom(3 << 20)
        payload = hashlib.sha256(big).hexdigest()
        answer = self.signed("PUT", "/bucket/new", big[:-1] + b"\0\0"[:1], payload=payload)
        if big[-1:] != b"\0":
            self.refused(answer, 400, code="XAmzContentSHA256Mismatch")
        body = b'{"name": "one"}'
        answer = self.json_call("POST", "/sequencestore", b'{"name": "two"}',
                                payload=hashlib.sha256(body).hexdigest())
        self.refused(answer, 403, code="InvalidSignatureException")
        names = {item["name"] for item in self.omics.list_sequence_stores()["sequenceStores"]}
        self.assertNotIn("two", names)

    def test_the_method_path_and_query_are_covered(self):
        headers, _ = Signer(self.vault).headers(self.host, "GET", "/bucket/other")
        self.refused(self.send("GET", "/bucket/private", headers), 403, code="SignatureDoesNotMatch")
        headers, _ = Signer(self.vault).headers(self.host, "GET", "/bucket/private")
        self.refused(self.send("DELETE", "/bucket/private", headers), 403)
        self.refused(self.send("GET", "/bucket/private?tagging", headers), 403)
        self.refused(self.send("GET", "/bucket/private?partNumber=1", headers), 403)
        wrong_host = [(n, "evil.example.org" if n == "host" else v) for n, v in headers]
        self.refused(self.send("GET", "/bucket/private", wrong_host), 403)

    def test_scopes_keys_and_algorithms_must_be_right(self):
        for wrong in (
            {"region": "eu-west-9"}, {"secret": "A" * 40}, {"access_key": "RVDEVUNKNOWNUNKNOWN0"},
            {"scope_date": "20200101"}, {"service": "iam"}, {"service": "omics"},
            {"service": "S3"}, {"service": ""}, {"access_key": ""},
        ):
            with self.subTest(**wrong):
                self.refused(self.signed("GET", "/bucket/private", **wrong), 400, 403, 404)
        for wrong in (
            {"region": "eu-west-9"}, {"secret": "A" * 40}, {"access_key": "RVDEVUNKNOWNUNKNOWN0"},
            {"scope_date": "20200101"},
        ):
            with self.subTest("omics", **wrong):
                self.refused(self.json_call("POST", "/sequencestores", {}, **wrong), 403)
        unknown = self.signed("GET", "/bucket/private", access_key="RVDEVUNKNOWNUNKNOWN0")
        self.refused(unknown, 403, code="InvalidAccessKeyId")

    def altered(self, edit, target="/bucket/private"):
        headers, signature = Signer(self.vault).headers(self.host, "GET", target)
        value = edit(dict(headers)["authorization"], signature)
        return [(n, v) for n, v in headers if n != "authorization"], value

    def test_authorization_must_come_once_and_be_readable(self):
        headers, value = self.altered(lambda value, _: value)
        absent = self.send("GET", "/bucket/private", headers)
        self.refused(absent, 403)
        twice = [*headers, ("authorization", value), ("authorization", value)]
        self.refused(self.send("GET", "/bucket/private", twice), 400, 403)
        bad = value.replace("Signature=", "Signature=00")
        self.refused(
            self.send("GET", "/bucket/private", [*headers, ("authorization", bad),
                                                 ("authorization", value)]), 400, 403)
        edits = [
            lambda v, s: v.replace("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"),
            lambda v, s: v.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
            lambda v, s: v.replace("AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256"),
            lambda v, s: v.replace(s, ""),
            lambda v, s: v.replace(s, s[:-1]),
            lambda v, s: v.replace(s, s.upper() + "00"),
            lambda v, s: v.replace(s, "0" * 64),
            lambda v, s: v.replace("host;", ""),
            lambda v, s: v.replace("SignedHeaders=", "SignedHeaders=absent;"),
            lambda v, s: v.replace("/aws4_request", "/aws5_request"),
            lambda v, s: "AWS " + self.vault.env["AWS_ACCESS_KEY_ID"] + ":c2lnbmF0dXJl",
            lambda v, s: "Bearer " + s,
            lambda v, s: "Basic cm9vdDpyb290",
            lambda v, s: "",
            lambda v, s: "AWS4-HMAC-SHA256 " + "Credential=," * 500,
            lambda v, s: v + ", Signature=" + "0" * 64,
        ]
        for number, edit in enumerate(edits):
            with self.subTest(number):
                headers, value = self.altered(edit)
                answer = self.send("GET", "/bucket/private", [*headers, ("authorization", value)])
                self.refused(answer, 400, 403, 404, 501)

    def test_clocks_may_differ_by_fifteen_minutes(self):
        for seconds in (-14 * 60, 14 * 60):
            self.assertEqual(self.signed("GET", "/bucket/private", when=now(seconds)).status, 200)
        for seconds in (-16 * 60, 16 * 60):
            with self.subTest(seconds):
                answer = self.signed("GET", "/bucket/private", when=now(seconds))
                self.refused(answer, 403, code="RequestTimeTooSkewed")
                answer = self.json_call("POST", "/sequencestores", {}, when=now(seconds))
                self.refused(answer, 403)

    def presigned(self, when=None, **options):
        url = Signer(self.vault, when=when).url(self.host, "GET", "/bucket/private", **options)
        return self.send("GET", url, [("host", self.host)])

    def test_presigned_urls_end(self):
        self.assertEqual(self.presigned(when=now(-100), expires=200).status, 200)
        self.refused(self.presigned(when=now(-100), expires=99), 403)
        self.refused(self.presigned(when=now(16 * 60)), 403)
        self.refused(self.presigned(expires=604_801), 400, 403)
        for expires in ("-1", "0", "x", "", "1e9", "99999999999999999999"):
            with self.subTest(expires):
                self.refused(self.presigned(when=now(-1), expires=expires), 400, 403)

    def test_a_presigned_url_is_for_its_method_and_object_only(self):
        url = Signer(self.vault).url(self.host, "GET", "/bucket/private")
        host = [("host", self.host)]
        self.refused(self.send("DELETE", url, host), 403)
        self.refused(self.send("PUT", url, host, b"new"), 403)
        self.refused(self.send("GET", url.replace("/private?", "/other?"), host), 403)
        self.refused(self.send("GET", url + "&tagging", host), 403)
        self.refused(self.send("GET", url.replace("Expires=300", "Expires=3000"), host), 403)
        self.refused(self.send("GET", url.replace("X-Amz-Date=2", "X-Amz-Date=3"), host), 400, 403)

    def test_sigv2_is_off(self):
        query = "AWSAccessKeyId={}&Signature=c2ln&Expires=4000000000"
        target = "/bucket/private?" + query.format(self.vault.env["AWS_ACCESS_KEY_ID"])
        self.refused(self.send("GET", target, [("host", self.host)]), 400, 403)


class Bodies(Raw):
    def cut(self, method, target, service="s3", declared=1_000_000, sent=400_000):
        """Sends a part of the body, then closes."""
        signer = Signer(self.vault, service)
        headers, _ = signer.headers(self.host, method, target, payload="UNSIGNED-PAYLOAD")
        lines = [f"{method} {target} HTTP/1.1"] + [f"{n}: {v}" for n, v in headers]
        lines.append(f"content-length: {declared}")
        with self.connect() as link:
            link.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + os.urandom(sent))
            time.sleep(0.1)

    def test_an_upload_that_is_cut_stores_nothing(self):
        for _ in range(3):
            self.cut("PUT", "/bucket/cut")
        upload = self.s3.create_multipart_upload(Bucket="bucket", Key="cut")["UploadId"]
        self.cut("PUT", f"/bucket/cut?partNumber=1&uploadId={upload}")
        time.sleep(0.3)
        parts = self.s3.list_parts(Bucket="bucket", Key="cut", UploadId=upload).get("Parts", [])
        self.assertEqual(parts, [])
        self.s3.abort_multipart_upload(Bucket="bucket", Key="cut", UploadId=upload)
        made = self.upload()
        path = f"/sequencestore/{self.store}/upload/{made}/part"
        self.cut("PUT", f"{path}?partNumber=1&partSource=SOURCE1", "omics")
        time.sleep(0.3)
        parts = self.omics.list_read_set_upload_parts(
            sequenceStoreId=self.store, uploadId=made, partSource="SOURCE1"
        )
        self.assertEqual(parts["parts"], [])

    def upload(self, file_type="FASTQ"):
        return self.omics.create_multipart_read_set_upload(
            sequenceStoreId=self.store, sourceFileType=file_type, subjectId="s", sampleId="s",
            name="n",
        )["uploadId"]

    def test_checksum_headers_are_verified(self):
        body = b"some body"
        other = b"another body"
        right = {
            "x-amz-checksum-crc32": zlib.crc32(other).to_bytes(4, "big"),
            "x-amz-checksum-sha1": hashlib.sha1(other).digest(),
            "x-amz-checksum-sha256": hashlib.sha256(other).digest(),
            "x-amz-checksum-crc32c": b"\0\0\0\1",
            "x-amz-checksum-crc64nvme": b"\0\0\0\0\0\0\0\1",
            "content-md5": hashlib.md5(other).digest(),
        }
        for name, value in right.items():
            with self.subTest(name):
                extra = [(name, base64.b64encode(value).decode())]
                self.refused(self.signed("PUT", "/bucket/new", body, extra), 400, code="BadDigest")
                for malformed in ("not base64!", "AAAA", ""):
                    answer = self.signed("PUT", "/bucket/new", body, [(name, malformed)])
                    self.assertEqual(answer.status, 400, (malformed, answer))
        two = [(name, base64.b64encode(value).decode()) for name, value in right.items()]
        self.refused(self.signed("PUT", "/bucket/new", body, two), 400)

    def chunked(self, body, trailer=(), announced="x-amz-checksum-crc32", decoded=None,
                mode=UNSIGNED_CHUNKS, plain=None):
        """An aws-chunked request with `body` already framed."""
        extra = [
            ("content-encoding", "aws-chunked"),
            ("x-amz-decoded-content-length", str(decoded if decoded is not None else plain)),
        ]
        if announced:
            extra.append(("x-amz-trailer", announced))
        lines = b"".join(f"{n}:{v}\r\n".encode() for n, v in trailer)
        return self.signed("PUT", "/bucket/new", body + lines + b"\r\n", extra, payload=mode)

    @staticmethod
    def frames(content, size=65_536):
        pieces = [content[at : at + size] for at in range(0, len(content), size)]
        return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n"

    def test_trailing_checksums_are_verified(self):
        content = os.urandom(200_000)
        right = base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode()
        name = "x-amz-checksum-crc32"
        framed = self.frames(content)
        good = self.chunked(framed, [(name, right)], plain=len(content))
        self.assertEqual(good.status, 200, good)
        self.assertEqual(
            self.s3.get_object(Bucket="bucket", Key="new")["Body"].read(), content
        )
        self.s3.delete_object(Bucket="bucket", Key="new")
        wrong = self.chunked(framed, [(name, "AAAAAA==")], plain=len(content))
        self.refused(wrong, 400, code="BadDigest")
        for label, answer in {
            "no trailer": self.chunked(framed, plain=len(content)),
            "another trailer": self.chunked(
                framed, [("x-amz-checksum-sha256", "A" * 43 + "=")], plain=len(content)),
            "malformed": self.chunked(framed, [(name, "xx")], plain=len(content)),
            "changed content": self.chunked(
                framed.replace(content[:16], b"\0" * 16), [(name, right)], plain=len(content)),
        }.items():
            with self.subTest(label):
                self.refused(answer, 400)

    def test_malformed_chunks_are_refused(self):
        crc = base64.b64encode(zlib.crc32(b"hello").to_bytes(4, "big")).decode()
        trailer = [("x-amz-checksum-crc32", crc)]
        cases = {
            "short": (b"5\r\nhel\r\n0\r\n", 5),
            "no end": (b"5\r\nhello\r\n", 5),
            "decoded length above": (b"5\r\nhello\r\n0\r\n", 6),
            "decoded length below": (b"5\r\nhello\r\n0\r\n", 4),
            "huge": (b"ffffffffffffffff\r\nhello\r\n0\r\n", 5),
            "overflow": (b"1" + b"0" * 40 + b"\r\nhello\r\n0\r\n", 5),
            "negative": (b"-5\r\nhello\r\n0\r\n", 5),
            "no digits": (b"\r\nhello\r\n0\r\n", 5),
            "long line": (b"5;" + b"x" * 100_000 + b"\r\nhello\r\n0\r\n", 5),
            "decoded length no number": (b"5\r\nhello\r\n0\r\n", "x"),
        }
        for label, (body, decoded) in cases.items():
            with self.subTest(label):
                self.refused(self.chunked(body, trailer, decoded=decoded), 400, 411)

    def signed_chunks(self, pieces, spoil=None):
        """A PUT whose chunks are signed, each with the signature before it."""
        signer = Signer(self.vault)
        total = sum(len(piece) for piece in pieces)
        extra = [("content-encoding", "aws-chunked"), ("x-amz-decoded-content-length", str(total))]
        headers, previous = signer.headers(
            self.host, "PUT", "/bucket/new", extra, SIGNED_CHUNKS
        )
        frames = []
        for piece in [*pieces, b""]:
            to_sign = "\n".join([
                "AWS4-HMAC-SHA256-PAYLOAD", signer.date, signer.scope, previous, EMPTY,
                hashlib.sha256(piece).hexdigest(),
            ])
            previous = mac(signer.key(), to_sign).hex()
            SIGNATURES.append(previous)
            head = b"%x;chunk-signature=%s\r\n" % (len(piece), previous.encode())
            frames.append([head, piece, b"\r\n"])
        frames = spoil(frames) if spoil else frames
        return self.send("PUT", "/bucket/new", headers, b"".join(b"".join(f) for f in frames))

    def test_signed_chunks_are_verified(self):
        pieces = [os.urandom(65_536), os.urandom(65_536), os.urandom(100)]
        self.assertEqual(self.signed_chunks(pieces).status, 200)
        got = self.s3.get_object(Bucket="bucket", Key="new")
        self.assertEqual(got["Body"].read(), b"".join(pieces))
        self.assertNotIn("aws-chunked", got.get("ContentEncoding", ""))
        self.s3.delete_object(Bucket="bucket", Key="new")

        def flip(frames):
            frames[1][1] = b"\0" + frames[1][1][1:] if frames[1][1][0] else b"\1" + frames[1][1][1:]
            return frames

        spoils = {
            "changed": flip,
            "swapped": lambda f: [f[1], f[0], *f[2:]],
            "left out": lambda f: [f[0], *f[2:]],
            "repeated": lambda f: [f[0], *f],
            "end only": lambda f: f[-1:],
            "last chunk and end left out": lambda f: f[:-2],
            "unsigned": lambda f: [[b"%x\r\n" % len(f[0][1]), f[0][1], b"\r\n"], *f[1:]],
            "zero signature": lambda f: [
                [b"%x;chunk-signature=%s\r\n" % (len(f[0][1]), b"0" * 64), *f[0][1:]], *f[1:]],
        }
        for label, spoil in spoils.items():
            with self.subTest(label):
                self.refused(self.signed_chunks(pieces, spoil), 400, 403)
        # Without the empty last chunk every byte is still verified and their number is signed.
        answer = self.signed_chunks(pieces, lambda frames: frames[:-1])
        if answer.status == 200:
            got = self.s3.get_object(Bucket="bucket", Key="new")
            self.assertEqual(got["Body"].read(), b"".join(pieces))
            self.s3.delete_object(Bucket="bucket", Key="new")

    def test_an_empty_object_does_not_spoil_its_connection(self):
        """boto3 asks before it sends even an empty body; the answer after it must be read whole."""
        s3 = self.vault.client("s3", max_pool_connections=1, read_timeout=5)
        for body in (b"", b"one", b"", b"", b"x" * 200_000):
            answer = s3.put_object(Bucket="bucket", Key="empty", Body=body)
            self.assertEqual(answer["ETag"].strip('"'), hashlib.md5(body).hexdigest())
            self.assertEqual(answer["ResponseMetadata"]["RetryAttempts"], 0)
        s3.delete_object(Bucket="bucket", Key="empty")

    def test_a_form_without_a_length_is_refused(self):
        form = [("host", self.host), ("content-type", "multipart/form-data; boundary=b"),
                ("transfer-encoding", "chunked")]
        answer = self.send("POST", "/bucket", form, b"5\r\n--b\r\n\r\n0\r\n\r\n", length=False)
        self.refused(answer, 411)
        fields = b"".join(
            b'--b\r\ncontent-disposition: form-data; name="%s"\r\n\r\n%s\r\n' % field
            for field in [(b"key", b"new"), (b"policy", b"e30="), (b"file", b"content")]
        )
        form = [("host", self.host), ("content-type", "multipart/form-data; boundary=b")]
        self.refused(self.send("POST", "/bucket", form, fields + b"--b--\r\n"), 400, 403, 405, 411, 501)

    def test_documents_are_bounded_and_plain(self):
        objects = b"<Object><Key>k</Key></Object>"
        many = b"<Delete>" + objects * 1001 + b"</Delete>"
        huge = b"<Delete>" + objects * 200_000 + b"</Delete>"
        laughs = (
            b'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY a "aaaaaaaaaa">'
            + b"".join(b'<!ENTITY %c "&%c;&%c;&%c;&%c;&%c;&%c;">' % tuple([98 + n] + [97 + n] * 6)
                       for n in range(12))
            + b"]><Delete><Object><Key>&m;</Key></Object></Delete>"
        )
        outside = (
            b'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
            b"<Delete><Object><Key>&x;</Key></Object></Delete>"
        )
        deep = b"<Delete>" * 50_000
        cases = {
            "1,001 objects": many, "above 4 MiB": huge, "entities": laughs, "outside": outside,
            "deep": deep, "no XML": b"{}", "empty": b"", "cut": b"<Delete><Object>",
            "not UTF-8": b"<Delete><Object><Key>\xff\xfe</Key></Object></Delete>",
        }
        for label, body in cases.items():
            with self.subTest(label):
                extra = [("content-md5", base64.b64encode(hashlib.md5(body).digest()).decode())]
                began = time.monotonic()
                answer = self.signed("POST", "/bucket?delete", body, extra)
                self.refused(answer, 400, 413)
                self.assertNotIn(b"root:", answer.body)
                self.assertLess(time.monotonic() - began, 5)

    def test_bodies_that_are_no_json_are_refused(self):
        deep = b'{"filter":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
        long_name = json.dumps({"name": "n" * 128}).encode()
        cases = {
            "XML": b"<a/>", "cut": b'{"name": ', "list": b"[]", "text": b'"x"', "number": b"1",
            "null": b"null", "fields in a list": b'["listed", null, null, {}, null, null, null, [], null]',
            "not UTF-8": b'{"name": "\xff\xfe"}', "deep": deep,
            "wrong type": b'{"name": 5}', "missing": b"{}", "too long": long_name,
            "control": b'{"name": "a\\u0000b"}', "newline": b'{"name": "a\\r\\nx: y"}',
            "twice": b'{"name": "a", "name": "b"}', "rest": b'{"name": "a"} {}',
            "huge": b'{"name": "' + b"x" * (3 << 20) + b'"}',
            "surrogate": b'{"name": "\\ud800"}',
        }
        for label, body in cases.items():
            with self.subTest(label):
                answer = self.json_call("POST", "/sequencestore", body)
                self.refused(answer, 400, 413)
                self.assertIn("message", json.loads(answer.body))
        names = {item["name"] for item in self.omics.list_sequence_stores()["sequenceStores"]}
        self.assertEqual(names, {"store"})


class Names(Raw):
    def test_paths_that_lead_out_are_refused(self):
        spellings = [
            "/bucket/../bucket/x", "/bucket/a/../../x", "/bucket/%2e%2e/x", "/bucket/%2E%2e/x",
            "/bucket/.%2e/x", "/bucket/..%2fx", "/bucket/..%2Fx", "/bucket/a%2f..%2fx",
            "/bucket/..", "/bucket/.", "/bucket/./x", "/bucket/%2e/x", "/bucket/a/%2e%2e",
            "/bucket/..%5cx", "/bucket/a%5c..%5cx", "/bucket/%00", "/bucket/a%00b",
            "/bucket//x", "/bucket/%2fetc%2fpasswd", "/bucket/a%0d%0ab", "/bucket/%c0%ae%c0%ae/x",
            "/bucket/%ff", "/../bucket/x", "/%2e%2e/bucket/x", "/%2e%2e%2fbucket/x",
            "/..%2fbucket/x", "/.../x", "/bucket%2f../x", "/BUCKET/x", "/a/x", "/192.168.0.1/x",
        ]
        for target in spellings:
            with self.subTest(target):
                codes = set()
                # Clients sign the path as they send it, or decoded and encoded again.
                again = urllib.parse.quote(urllib.parse.unquote_to_bytes(target), safe="/-_.~")
                for path in (target, again):
                    answer = self.signed("PUT", target, b"x", path=path)
                    self.refused(answer, 400, 403, 404)
                    codes.add(answer.code)
                self.assertNotEqual(codes, {"SignatureDoesNotMatch"}, "no rule for paths was tried")
        for source in ("/bucket/../bucket/private", "/bucket/%2e%2e/private", "../private",
                       "/../../etc/passwd", "bucket/%2e%2e%2fprivate", "bucket", "", "/", "//private"):
            with self.subTest(source=source):
                copy = [("x-amz-copy-source", source)]
                self.refused(self.signed("PUT", "/bucket/new", extra=copy), 400, 403, 404)

    def test_keys_are_bounded(self):
        longest = "k" * 1024
        self.assertEqual(self.signed("PUT", f"/bucket/{longest}", b"").status, 200)
        self.s3.delete_object(Bucket="bucket", Key=longest)
        self.refused(self.signed("PUT", f"/bucket/{longest}k", b""), 400, code="KeyTooLongError")
        many_bytes = urllib.parse.quote("é" * 513)
        self.refused(self.signed("PUT", f"/bucket/{many_bytes}", b""), 400, code="KeyTooLongError")
        self.refused(self.signed("POST", f"/bucket/{longest}k?uploads", b""), 400)
        copy = [("x-amz-copy-source", "/bucket/private")]
        self.refused(self.signed("PUT", f"/bucket/{longest}k", extra=copy), 400)

    def test_line_ends_in_names_and_metadata_split_nothing(self):
        raw = [(b"x-amz-meta-a", b"1\r\nx-injected: 1"), (b"x-amz-meta-a", b"1\nx-injected: 1"),
               (b"x-amz-meta-a", b"1\0"), (b"x-amz-meta-a", b"1\r2")]
        for name, value in raw:
            with self.subTest(value):
                headers, _ = Signer(self.vault).headers(self.host, "PUT", "/bucket/new")
                answer = self.send("PUT", "/bucket/new", [*headers, (name.decode(), value)])
                if answer is not None:
                    self.refused(answer, 400, 403)
        # Overrides of response headers, as a link that someone else was given could hold them.
        for value in ("a%0d%0ax-injected:%201", "a%0ax-injected:%201", "%00"):
            target = f"/bucket/private?response-content-disposition={value}"
            answer = self.signed("GET", target)
            if answer is not None:
                self.assertIsNone(answer.headers.get("x-injected"))
                self.assertIn(answer.status, (400, 403), answer)
        too_large = [("x-amz-meta-a", "x" * 2049)]
        answer = self.signed("PUT", "/bucket/new", b"", too_large)
        self.refused(answer, 400, code="MetadataTooLarge")
        for tags in ("a=1&a=2", "=x", "a=" + "v" * 257, "&".join(f"k{n}=v" for n in range(11)),
                     "k" * 129 + "=v", "a=%0d%0ax", "aws:a=1"):
            with self.subTest(tags=tags[:20]):
                answer = self.signed("PUT", "/bucket/new", b"", [("x-amz-tagging", tags)])
                self.refused(answer, 400)


class Front(Raw):
    def test_heads_are_bounded(self):
        headers, _ = Signer(self.vault).headers(self.host, "GET", "/bucket/private")
        long = [*headers, ("x-long", "x" * 20_000)]
        self.refused(self.send("GET", "/bucket/private", long), 431)
        many = [*headers, *[(f"x-field-{n}", "v") for n in range(101)]]
        self.refused(self.send("GET", "/bucket/private", many), 431)
        answer = self.send("GET", "/bucket/" + "k" * 9000, headers)
        self.refused(answer, 414)
        answer = self.send("GET", "/" + "k" * 1_000_000, headers)
        if answer is not None:
            self.refused(answer, 400, 414, 431)

    def test_a_slow_head_is_closed_and_holds_nobody_up(self):
        with self.connect(timeout=30) as slow, self.connect(timeout=30) as silent:
            slow.sendall(b"GET /_rv/health HTTP/1.1\r\nhost: x\r\n")
            began = time.monotonic()
            for _ in range(3):
                self.assertEqual(self.signed("GET", "/bucket/private").status, 200)
            try:
                while slow.recv(4096):
                    pass
            except ConnectionResetError:
                pass
            took = time.monotonic() - began
            self.assertGreater(took, 7)
            self.assertLess(took, 15)
            try:
                silent.settimeout(5)
                self.assertEqual(silent.recv(1), b"")
            except ConnectionResetError:
                pass

    def test_two_lengths_are_refused(self):
        with self.connect() as link:
            link.sendall(
                b"POST /bucket?delete HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n"
                b"content-length: 50\r\n\r\nhello"
            )
            answer = self.answer(link, "POST")
        if answer is not None:
            self.assertEqual(answer.status, 400, answer)

    def test_a_length_beside_chunks_smuggles_nothing(self):
        inner = b"GET /_rv/health HTTP/1.1\r\nhost: x\r\n\r\n"
        with self.connect(timeout=3) as link:
            link.sendall(
                b"POST /bucket?delete HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n"
                b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n" + inner
            )
            received = b""
            with contextlib.suppress(TimeoutError, ConnectionResetError):
                while piece := link.recv(65_536):
                    received += piece
        self.assertNotIn(b"ok\n", received, "the rest was served as a second request")

    def test_garbage_is_closed(self):
        for garbage in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200,
                        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET\r\n\r\n", b"\0" * 1000,
                        b"GET /bucket/private HTTP/9.9\r\n\r\n",
                        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
                        b"GET / HTTP/1.1\r\n folded: x\r\n\r\n"):
            with self.connect() as link:
                link.sendall(garbage)
                answer = self.answer(link)
                if answer is not None:
                    self.assertIn(answer.status, (400, 403, 404, 505), garbage)

    def test_nothing_but_health_is_open(self):
        """Every route without a signature: no data, nothing done."""
        def anonymous(method, target, host, body=b""):
            headers = [("host", host), ("content-type", "application/json")]
            return self.send(method, target, headers, body)

        health = anonymous("GET", "/_rv/health", self.host)
        self.assertEqual((health.status, health.body), (200, b"ok\n"))
        shape = self.omics.meta.service_model
        for name in shape.operation_names:
            operation = shape.operation_model(name)
            uri = operation.http["requestUri"].split("?")[0]
            target = re.sub(r"{[^}]*}", "1000000001", uri)
            prefix = (operation.endpoint or {}).get("hostPrefix", "")
            for host in (self.host, f"{prefix}omics.example.org"):
                with self.subTest(name, host=host):
                    answer = anonymous(operation.http["method"], target, host, b"{}")
                    self.assertIn(answer.status, (400, 401, 403, 404, 405, 501), answer)
                    self.assertNotIn(b"store", answer.body.lower().replace(b"nosuch", b""))
        s3 = [
            ("GET", "/"), ("GET", "/bucket"), ("HEAD", "/bucket"), ("PUT", "/other"),
            ("DELETE", "/bucket"), ("GET", "/bucket/private"), ("HEAD", "/bucket/private"),
            ("PUT", "/bucket/new"), ("DELETE", "/bucket/private"), ("POST", "/bucket?delete"),
            ("POST", "/bucket/new?uploads"), ("GET", "/bucket?uploads"), ("GET", "/bucket?acl"),
            ("GET", "/bucket?versions"), ("GET", "/bucket?list-type=2"), ("GET", "/bucket?policy"),
            ("GET", "/bucket/private?tagging"), ("PUT", "/bucket/private?tagging"),
            ("GET", "/bucket/private?acl"), ("GET", "/bucket/private?attributes"),
            ("GET", "/bucket?location"), ("POST", "/"), ("GET", "/?Action=GetCallerIdentity"),
        ]
        for method, target in s3:
            with self.subTest(f"{method} {target}"):
                answer = anonymous(method, target, self.host)
                self.assertIn(answer.status, (400, 403, 411, 501), answer)
        own = ["/_rv", "/_rv/", "/_rv/admin", "/_rv/console", "/_rv/debug", "/_rv/../bucket/private",
               "/_rv/%2e%2e/bucket/private", "/_rv/metrics/..", "/_rv/env", "/_rv/agent",
               "/_rv/health/../metrics", "/ga4gh/drs/v1/objects/1", "/ga4gh", "/ga4gh/../bucket/private"]
        for target in own:
            with self.subTest(target):
                answer = anonymous("GET", target, self.host)
                self.assertIn(answer.status, (400, 401, 403, 404, 405, 501), answer)
        for method in ("TRACE", "CONNECT", "OPTIONS", "PATCH", "DEBUG", "PROPFIND"):
            with self.subTest(method):
                answer = anonymous(method, "/bucket/private", self.host)
                if answer is not None:
                    self.assertIn(answer.status, (400, 403, 405, 501), answer)
                    self.assertNotIn(b"private private", answer.body)

    def test_metrics_name_nobody(self):
        """Metrics are for a scraper without credentials: numbers only."""
        self.signed("GET", "/bucket/private")
        answer = self.send("GET", "/_rv/metrics", [("host", self.host)])
        if answer.status == 200:
            for word in (b"private", b"bucket", self.vault.env["AWS_ACCESS_KEY_ID"].encode(),
                         self.store.encode()):
                self.assertNotIn(word, answer.body)

    def test_the_log_holds_no_secret(self):
        token = "TOKEN" + base64.b32encode(os.urandom(30)).decode()
        self.signed("GET", "/bucket/private")
        self.signed("GET", "/bucket/private", extra=[("x-amz-security-token", token)])
        self.signed("GET", "/bucket/private", unsigned=[("x-amz-security-token", token)])
        self.json_call("POST", "/sequencestores", {})
        self.json_call("POST", "/sequencestores", b"{", unsigned=[("x-amz-security-token", token)])
        url = Signer(self.vault).url(
            self.host, "GET", "/bucket/private", query=[("X-Amz-Security-Token", token)]
        )
        self.send("GET", url, [("host", self.host)])
        self.send("GET", url + "&x", [("host", self.host)])
        self.send("GET", "/bucket/" + "k" * 9000 + url, [("host", self.host)])
        time.sleep(0.3)
        log = (self.vault.data.parent / f"{self.vault.data.name}.log").read_text(errors="replace")
        self.assertIn("request", log, "there is no log to search")
        words = {"the session token": token, "the secret key": self.vault.env["AWS_SECRET_ACCESS_KEY"]}
        for label, word in words.items():
            self.assertNotIn(word, log, label)
        self.assertGreater(len(SIGNATURES), 3)
        for signature in SIGNATURES:
            self.assertNotIn(signature, log, "a signature")


WDL = b"""version 1.0
task t { command { true } output { Int n = 1 } }
workflow w { call t }
"""


class Zips(Raw):
    def made(self, build):
        """A zip that `build` writes."""
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("main.wdl", WDL)
            build(archive)
        return target.getvalue()

    def special(self, name, mode, content):
        info = zipfile.ZipInfo(name)
        info.create_system = 3
        info.external_attr = mode << 16
        return lambda archive: archive.writestr(info, content)

    def hostile(self):
        plain = lambda name: lambda archive: archive.writestr(name, b"x")
        bomb = lambda archive: archive.writestr("bomb", b"\0" * (300 << 20))
        sound = self.made(lambda archive: None)
        return {
            "parent": self.made(plain("../evil")),
            "parent inside": self.made(plain("a/../../evil")),
            "absolute": self.made(plain("/etc/evil")),
            "backslash": self.made(plain("..\\evil")),
            "drive": self.made(plain("c:/evil")),
            "dot": self.made(plain("./main.wdl")),
            "link": self.made(self.special("link", stat.S_IFLNK | 0o777, b"/etc/passwd")),
            "device": self.made(self.special("device", stat.S_IFCHR | 0o666, b"")),
            "pipe": self.made(self.special("pipe", stat.S_IFIFO | 0o666, b"")),
            "bomb": self.made(bomb),
            "many": self.made(lambda a: [a.writestr(f"f{n}", b"") for n in range(10_001)]),
            "twice but for case": self.made(plain("MAIN.WDL")),
            "file and directory": self.made(plain("main.wdl/inside")),
            "empty": b"PK\x05\x06" + b"\0" * 18,
            "no zip": b"no zip at all",
            "cut": sound[: len(sound) // 2],
            "changed": sound.replace(WDL[:8], b"\0" * 8) if WDL[:8] in sound
            else sound[:60] + b"\xff\xff\xff\xff" + sound[64:],
            "nothing": b"",
        }

    def test_hostile_zips_make_no_workflow(self):
        for label, content in self.hostile().items():
            with self.subTest(label):
                began = time.monotonic()
                try:
                    made = self.omics.create_workflow(name=label, definitionZip=content, engine="WDL")
                except ClientError as error:
                    facts = error.response["ResponseMetadata"]
                    self.assertEqual(facts["HTTPStatusCode"], 400, error)
                    self.assertTrue(error.response["Error"]["Message"])
                else:
                    def ended():
                        found = self.omics.get_workflow(id=made["id"])
                        return None if found["status"] == "CREATING" else found

                    found = wait_for(ended, seconds=30)
                    self.assertEqual(found["status"], "FAILED", found)
                    self.assertTrue(found.get("statusMessage"))
                    self.assertNotIn("definition", found)
                self.assertLess(time.monotonic() - began, 20)
        names = {item["name"] for item in self.omics.list_workflows()["items"]
                 if item["status"] != "FAILED"}
        self.assertEqual(names, set())
        for evil in ("/etc/evil", self.vault.data.parent / "evil", self.vault.data / "evil"):
            self.assertFalse(pathlib.Path(evil).exists())

    def test_the_sound_zip_is_taken(self):
        made = self.omics.create_workflow(
            name="sound", definitionZip=self.made(lambda archive: None), engine="WDL"
        )
        ended = lambda: (lambda s: None if s == "CREATING" else s)(
            self.omics.get_workflow(id=made["id"])["status"]
        )
        self.assertEqual(wait_for(ended, seconds=30), "ACTIVE")
        self.omics.delete_workflow(id=made["id"])


class Parts(Raw):
    """Part lists of direct uploads that are not what was sent."""

    def setUp(self):
        self.upload = self.begin("FASTQ")
        self.sums = {n: self.part(self.upload, n, b"@r\nA\n+\nI\n" * n) for n in (1, 2, 3)}

    def begin(self, file_type):
        return self.omics.create_multipart_read_set_upload(
            sequenceStoreId=self.store, sourceFileType=file_type, subjectId="s", sampleId="s",
            name="n",
        )["uploadId"]

    def part(self, upload, number, content, source="SOURCE1"):
        return self.omics.upload_read_set_part(
            sequenceStoreId=self.store, uploadId=upload, partSource=source, partNumber=number,
            payload=content,
        )["checksum"]

    def complete(self, upload, parts):
        return self.omics.complete_multipart_read_set_upload(
            sequenceStoreId=self.store, uploadId=upload, parts=parts
        )

    @staticmethod
    def entry(number, checksum, source="SOURCE1"):
        return {"partNumber": number, "partSource": source, "checksum": checksum}

    def invalid(self, call, *arguments, **named):
        with self.assertRaises(ClientError) as caught:
            call(*arguments, **named)
        self.assertEqual(caught.exception.response["Error"]["Code"], "ValidationException")

    def test_part_lists_must_be_what_was_sent(self):
        one, two, three = (self.entry(n, self.sums[n]) for n in (1, 2, 3))
        wrong_sum = self.entry(2, base64.b64encode(b"\0" * 32).decode())
        cases = {
            "wrong checksum": [one, wrong_sum, three], "swapped checksums": [
                self.entry(1, self.sums[2]), self.entry(2, self.sums[1]), three],
            "gap": [one, three], "not from 1": [two, three], "twice": [one, one, two, three],
            "never sent": [one, two, three, self.entry(4, self.sums[1])], "none": [],
            "second source never sent": [one, two, three, self.entry(1, self.sums[1], "SOURCE2")],
            "second source only": [self.entry(1, self.sums[1], "SOURCE2")],
            "checksum no base64": [self.entry(1, "x"), two, three],
        }
        for label, parts in cases.items():
            with self.subTest(label):
                self.invalid(self.complete, self.upload, parts)
        listed = self.omics.list_read_sets(sequenceStoreId=self.store)["readSets"]
        self.assertEqual(listed, [])
        # The upload outlives refusals.
        parts = self.omics.list_read_set_upload_parts(
            sequenceStoreId=self.store, uploadId=self.upload, partSource="SOURCE1"
        )["parts"]
        self.assertEqual([part["partNumber"] for part in parts], [1, 2, 3])

    def test_only_fastq_has_a_second_source(self):
        for file_type in ("BAM", "CRAM", "UBAM"):
            upload = self.begin(file_type)
            checksum = self.part(upload, 1, b"x")
            with self.subTest(file_type):
                with self.assertRaises(ClientError) as caught:
                    second = self.part(upload, 1, b"y", "SOURCE2")
                    self.complete(
                        upload, [self.entry(1, checksum), self.entry(1, second, "SOURCE2")]
                    )
                self.assertEqual(
                    caught.exception.response["Error"]["Code"], "ValidationException"
                )

    def test_part_numbers_and_sources_are_checked(self):
        base = f"/sequencestore/{self.store}/upload/{self.upload}/part"
        for query in ("partNumber=0&partSource=SOURCE1", "partNumber=10001&partSource=SOURCE1",
                      "partNumber=-1&partSource=SOURCE1", "partNumber=x&partSource=SOURCE1",
                      "partNumber=1&partSource=SOURCE3", "partSource=SOURCE1", "partNumber=1",
                      "partNumber=1&partSource=INDEX", ""):
            with self.subTest(query):
                answer = self.signed("PUT", f"{base}?{query}" if query else base, b"x",
                                     service="omics")
                self.refused(answer, 400, code="ValidationException")
        body = b"x" * 100
        answer = self.signed("PUT", base + "?partNumber=4&partSource=SOURCE1", body, service="omics",
                             payload=hashlib.sha256(b"other").hexdigest())
        self.refused(answer, 400, 403)
        parts = self.omics.list_read_set_upload_parts(
            sequenceStoreId=self.store, uploadId=self.upload, partSource="SOURCE1"
        )["parts"]
        self.assertEqual(len(parts), 3)

    def test_ids_of_another_shape_lead_nowhere(self):
        for target in ("/sequencestore/x", "/sequencestore/..", "/sequencestore/%2e%2e",
                       "/sequencestore/1%2f2", "/sequencestore/" + "1" * 400, "/sequencestore/-1",
                       "/sequencestore/%00", "/sequencestore/9999999999",
                       f"/sequencestore/{self.store}/readset/%2e%2e/metadata",
                       f"/sequencestore/{self.store}/readset/9999999999",
                       f"/sequencestore/{self.store}/readset/1?partNumber=1", "/run/..%2f..",
                       "/tags/notanarn", "/tags/arn%3Aaws%3Aomics%3Aus-east-1%3A1%3Arun%2F..",
                       "/workflow/" + "9" * 30):
            with self.subTest(target):
                self.refused(self.signed("GET", target, service="omics"), 400, 403, 404)


class Encrypted(Vault):
    """A vault that speaks TLS with a certificate that it signed itself."""

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}"

    def shell_env(self):
        bundle = os.environ["SSL_CERT_FILE"]
        return {**super().shell_env(), "AWS_CA_BUNDLE": bundle, "CURL_CA_BUNDLE": bundle}


class Tls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = pathlib.Path(temporary.name)
        cls.certificate, key = cls.folder / "cert.pem", cls.folder / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
             "-nodes", "-keyout", key, "-out", cls.certificate, "-days", "2", "-subj", "/CN=vault",
             "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"],
            check=True, capture_output=True,
        )
        before = os.environ.get("SSL_CERT_FILE")
        os.environ["SSL_CERT_FILE"] = str(cls.certificate)
        cls.addClassCleanup(
            lambda: os.environ.update(SSL_CERT_FILE=before) if before
            else os.environ.pop("SSL_CERT_FILE")
        )
        extra = ["--tls-cert", str(cls.certificate), "--tls-key", str(key)]
        cls.vault = Encrypted(extra=extra).start()
        cls.addClassCleanup(cls.vault.close)
        cls.vault.run("aws", "s3", "mb", "s3://bucket")

    def test_settings_say_https(self):
        self.assertEqual(self.vault.env["AWS_ENDPOINT_URL"], self.vault.url)

    def test_the_cli_sends_trailers_and_gets_its_bytes_back(self):
        """Over TLS the cli sends aws-chunked bodies with a trailing checksum."""
        for size in (0, 1, 100_000, 20 << 20):
            source, target = self.folder / f"in{size}", self.folder / f"out{size}"
            source.write_bytes(os.urandom(size))
            self.vault.run("aws", "s3", "cp", source, f"s3://bucket/cli/{size}")
            self.vault.run("aws", "s3", "cp", f"s3://bucket/cli/{size}", target)
            self.assertEqual(source.read_bytes(), target.read_bytes(), size)
            head = self.vault.run(
                "aws", "s3api", "head-object", "--bucket", "bucket", "--key", f"cli/{size}",
                "--checksum-mode", "ENABLED",
            )
            facts = json.loads(head.stdout)
            self.assertNotIn("aws-chunked", facts.get("ContentEncoding", ""))
            self.assertTrue(any(name.startswith("Checksum") for name in facts), facts)

    def test_health_omics_over_tls(self):
        reads = self.folder / "reads.fastq"
        reads.write_bytes(b"".join(b"@r%d\nACGT\n+\nIIII\n" % n for n in range(1000)))
        aws = lambda *words: json.loads(self.vault.run("aws", "omics", *words).stdout or "{}")
        store = aws("create-sequence-store", "--name", "tls")["id"]
        upload = aws("create-multipart-read-set-upload", "--sequence-store-id", store,
                     "--source-file-type", "FASTQ", "--subject-id", "s", "--sample-id", "s",
                     "--name", "n")["uploadId"]
        checksum = aws("upload-read-set-part", "--sequence-store-id", store, "--upload-id", upload,
                       "--part-source", "SOURCE1", "--part-number", "1", "--payload", reads)["checksum"]
        self.assertEqual(
            checksum, base64.b64encode(hashlib.sha256(reads.read_bytes()).digest()).decode()
        )

    def test_the_vaults_own_client_checks_the_certificate(self):
        self.vault.readvault("store", "create", "own")
        listed = self.vault.readvault("store", "ls").stdout
        self.assertIn("own", listed)
        env = {**self.vault.shell_env()}
        env.pop("SSL_CERT_FILE", None)
        env.pop("AWS_CA_BUNDLE", None)
        done = subprocess.run(
            [BIN / "readvault", "store", "ls"], env=env, capture_output=True, text=True, timeout=120
        )
        self.assertNotEqual(done.returncode, 0, "a certificate that nobody vouches for was taken")

    def test_plain_http_is_not_served(self):
        with socket.create_connection(("127.0.0.1", self.vault.port), timeout=15) as link:
            link.sendall(b"GET /_rv/health HTTP/1.1\r\nhost: x\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                self.assertNotIn(b"200", link.recv(4096))

    def test_samtools_reads_over_tls(self):
        header = b"@HD\tVN:1.6\tSO:unsorted\n"
        done = subprocess.run(["samtools", "view", "-b", "-o", self.folder / "t.bam"],
                              input=header + b"r\t4\t*\t0\t0\t*\t*\t0\t0\tA\tI\n", check=True)
        self.assertEqual(done.returncode, 0)
        self.vault.run("aws", "s3", "cp", self.folder / "t.bam", "s3://bucket/t.bam")
        signed = self.vault.client("s3", signature_version="s3v4").generate_presigned_url(
            "get_object", Params={"Bucket": "bucket", "Key": "t.bam"}
        )
        self.assertEqual(self.vault.run("samtools", "view", "-c", signed).stdout.strip(), "1")


if __name__ == "__main__":
    unittest.main()
