"""SigV4 for the service s3, as a presigned URL or as headers; the payload is never signed.

Written out here because tens of thousands of URLs are signed before a measurement."""

import datetime
import hashlib
import hmac
import urllib.parse

REGION = "us-east-1"
UNSIGNED = "UNSIGNED-PAYLOAD"


def _mac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Signer:
    """Signs for one key pair and one host."""

    def __init__(self, access, secret, host, region=REGION):
        self.access, self.host = access, host
        now = datetime.datetime.now(datetime.timezone.utc)
        self.time, self.day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
        self.scope = f"{self.day}/{region}/s3/aws4_request"
        key = f"AWS4{secret}".encode()
        for part in (self.day, region, "s3", "aws4_request"):
            key = _mac(key, part)
        self.key = key

    def _signature(self, canonical):
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{self.time}\n{self.scope}\n{digest}"
        return _mac(self.key, text).hex()

    def presigned(self, method, path):
        """The path and query of a presigned request; `path` needs no escaping."""
        query = urllib.parse.urlencode({
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{self.access}/{self.scope}",
            "X-Amz-Date": self.time,
            "X-Amz-Expires": "7200",
            "X-Amz-SignedHeaders": "host",
        }, quote_via=urllib.parse.quote, safe="")
        canonical = f"{method}\n{path}\n{query}\nhost:{self.host}\n\nhost\n{UNSIGNED}"
        return f"{path}?{query}&X-Amz-Signature={self._signature(canonical)}"

    def headers(self, method, path):
        """The headers of a request that is signed in its headers."""
        signed = {"host": self.host, "x-amz-content-sha256": UNSIGNED, "x-amz-date": self.time}
        names = ";".join(signed)
        fields = "".join(f"{name}:{value}\n" for name, value in signed.items())
        canonical = f"{method}\n{path}\n\n{fields}\n{names}\n{UNSIGNED}"
        credential = f"AWS4-HMAC-SHA256 Credential={self.access}/{self.scope}"
        return {
            "x-amz-content-sha256": UNSIGNED,
            "x-amz-date": self.time,
            "authorization": f"{credential}, SignedHeaders={names}, "
            f"Signature={self._signature(canonical)}",
        }
