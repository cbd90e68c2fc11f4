"""Nothing that a user wrote stands readable in any file of the data directory."""

import json
import os
import pathlib
import tempfile
import unittest

from vault import Vault, wait_for

WORDS = {
    "sample": "CANARYSAMPLE7Q",
    "subject": "CANARYSUBJECT7Q",
    "name": "CANARYNAME7Q",
    "key": "canarykey7q/deep/canaryleaf7q",
    "tag": "CANARYTAG7Q",
    "meta": "canarymeta7q",
    "bucket": "canarybucket7q",
    "read": "CANARYREAD7Q",
    "parameter": "CANARYPARAMETER7Q",
}


def fastq(reads):
    lines = []
    for number in range(reads):
        bases = "".join("ACGT"[b & 3] for b in os.urandom(80))
        lines.append(f"@{WORDS['read']}:{number}\n{bases}\n+\n{'I' * 80}\n")
    return "".join(lines).encode()


class Canary(unittest.TestCase):
    def test_no_user_text_at_rest(self):
        reads = fastq(20_000)
        secret = os.urandom(3 << 20)
        probes = [word.encode() for word in WORDS.values()]
        probes += [part.encode() for part in WORDS["key"].split("/")]
        probes += [secret[at : at + 4096] for at in (0, 65536, 1 << 20, (3 << 20) - 4096)]
        probes += [reads[at : at + 4096] for at in (0, 100_000, len(reads) - 4096)]
        with Vault() as vault, tempfile.TemporaryDirectory() as temporary:
            s3 = vault.client("s3")
            s3.create_bucket(Bucket=WORDS["bucket"])
            s3.put_object(
                Bucket=WORDS["bucket"], Key=WORDS["key"], Body=secret,
                Metadata={"m": WORDS["meta"]}, Tagging=f"t={WORDS['tag']}",
            )
            s3.put_object(Bucket=WORDS["bucket"], Key=WORDS["key"] + "-small", Body=secret[:5000])
            vault.readvault("store", "create", WORDS["name"])
            path = pathlib.Path(temporary) / "reads.fastq"
            path.write_bytes(reads)
            vault.readvault(
                "put", path, "--store", WORDS["name"], "--sample", WORDS["sample"],
                "--subject", WORDS["subject"], "--name", WORDS["name"],
                "--tag", f"k={WORDS['tag']}",
            )
            hits = self.search(vault.data, probes)
            self.assertEqual(hits, [], "found while running")
            vault.kill()
            hits = self.search(vault.data, probes)
            self.assertEqual(hits, [], "found after kill -9")
            # The search can find: the settings file holds what it is meant to hold.
            key = vault.env["AWS_ACCESS_KEY_ID"].encode()
            self.assertTrue(self.search(vault.data, [key]), "the search itself does not work")
            vault.start()

    def search(self, data, probes):
        hits = []
        for path in sorted(data.rglob("*")):
            if path.is_file():
                try:
                    content = path.read_bytes()
                except FileNotFoundError:
                    continue
                hits += [(path.name, probe[:24]) for probe in probes if probe in content]
                hits += [(path.name, p[:24]) for p in probes if p in str(path).encode()]
        return hits


if __name__ == "__main__":
    unittest.main()
