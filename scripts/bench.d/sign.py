"""SigV4, as a presigned URL or as headers.

Written out here because tens of thousands of URLs are signed before a measurement."""

import datetime
import hashlib
import hmac
import urllib.parse

REGION = "us-east-1"
UNSIGNED = "UNSIGNED-PAYLOAD"


def _mac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def query_text(parameters):
    """The parameters as a canonical query."""
    return "&".join(f"{urllib.parse.quote(name, safe='')}={urllib.parse.quote(str(value), safe='')}"
                    for name, value in sorted(parameters.items()))


class Signer:
    """Signs for one key pair, one host and one service. Paths need no escaping."""

    def __init__(self, access, secret, host, service="s3"):
        self.access, self.host = access, host
        now = datetime.datetime.now(datetime.timezone.utc)
        self.time, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
        self.scope = f"{day}/{REGION}/{service}/aws4_request"
        key = f"AWS4{secret}".encode()
        for part in (day, REGION, service, "aws4_request"):
            key = _mac(key, part)
        self.key = key
        self.presigning = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": f"{access}/{self.scope}",
            "X-Amz-Date": self.time, "X-Amz-Expires": "7200", "X-Amz-SignedHeaders": "host",
        }
        self.plain_query = query_text(self.presigning)

    def _signature(self, canonical):
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{self.time}\n{self.scope}\n{digest}"
        return _mac(self.key, text).hex()

    def presigned(self, method, path, parameters=None):
        """The path and query of a presigned request, whose payload is not signed."""
        query = query_text(self.presigning | parameters) if parameters else self.plain_query
        canonical = f"{method}\n{path}\n{query}\nhost:{self.host}\n\nhost\n{UNSIGNED}"
        return f"{path}?{query}&X-Amz-Signature={self._signature(canonical)}"

    def headers(self, method, path, query="", payload=UNSIGNED):
        """The headers of a request that is signed in its headers; `payload` is what covers its body."""
        signed = {"host": self.host, "x-amz-content-sha256": payload, "x-amz-date": self.time}
        names = ";".join(signed)
        fields = "".join(f"{name}:{value}\n" for name, value in signed.items())
        canonical = f"{method}\n{path}\n{query}\n{fields}\n{names}\n{payload}"
        credential = f"AWS4-HMAC-SHA256 Credential={self.access}/{self.scope}"
        return {
            "x-amz-content-sha256": payload,
            "x-amz-date": self.time,
            "authorization": f"{credential}, SignedHeaders={names}, "
            f"Signature={self._signature(canonical)}",
        }
