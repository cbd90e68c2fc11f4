"""The window of S3 signatures against the clock of a real server: 15 minutes each way."""

import datetime
import hashlib
import hmac
import socket
import time
import unittest

from vault import Vault

UNSIGNED = "UNSIGNED-PAYLOAD"


def signed(vault, at):
    """A GET of the list of buckets, signed at the time `at`."""
    stamp = datetime.datetime.fromtimestamp(at, datetime.timezone.utc)
    stamp_text, day = stamp.strftime("%Y%m%dT%H%M%SZ"), stamp.strftime("%Y%m%d")
    region = vault.env["AWS_DEFAULT_REGION"]
    scope = f"{day}/{region}/s3/aws4_request"
    key = f"AWS4{vault.env['AWS_SECRET_ACCESS_KEY']}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    host = f"127.0.0.1:{vault.port}"
    fields = {"host": host, "x-amz-content-sha256": UNSIGNED, "x-amz-date": stamp_text}
    names = ";".join(fields)
    lines = "".join(f"{name}:{value}\n" for name, value in fields.items())
    canonical = f"GET\n/\n\n{lines}\n{names}\n{UNSIGNED}"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{stamp_text}\n{scope}\n{digest}"
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    authorization = (f"AWS4-HMAC-SHA256 Credential={vault.env['AWS_ACCESS_KEY_ID']}/{scope}, "
                     f"SignedHeaders={names}, Signature={signature}")
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"GET / HTTP/1.1\r\n{head}authorization: {authorization}\r\nconnection: close\r\n\r\n"


def answer(vault, request):
    with socket.create_connection(("127.0.0.1", vault.port), timeout=10) as sock:
        sock.sendall(request.encode())
        data = b""
        while piece := sock.recv(65536):
            data += piece
    return int(data.split(b" ", 2)[1]), data.decode()


class Clock(unittest.TestCase):
    def test_the_window_is_fifteen_minutes(self):
        with Vault() as vault:
            # 899 s and a part of one is inside, 901 s and a part is not.
            for offset, expected in [(0, 200), (-899, 200), (899, 200), (-902, 403), (902, 403),
                                     (-86_400, 403), (86_400, 403)]:
                # Early in a second, so that the request arrives in the second in which it was signed.
                now = time.time()
                time.sleep(1.02 - now % 1)
                status, text = answer(vault, signed(vault, int(time.time()) + offset))
                self.assertEqual(status, expected, f"{offset}: {text}")
                if expected == 403:
                    self.assertIn("<Code>RequestTimeTooSkewed</Code>", text)


if __name__ == "__main__":
    unittest.main()
