"""The independent decoder opens what a server wrote, from keys and packs alone."""

import hashlib
import os
import subprocess
import sys
import unittest

from vault import ROOT, Vault


class Decoder(unittest.TestCase):
    def test_every_object_is_found_by_its_digest(self):
        bodies = [os.urandom(n) for n in (0, 10, 65_536, 65_537, 1 << 20, 3_000_001)]
        with Vault() as vault:
            s3 = vault.client("s3")
            s3.create_bucket(Bucket="bucket")
            for number, body in enumerate(bodies):
                s3.put_object(Bucket="bucket", Key=f"k{number}", Body=body)
            s3.put_object(Bucket="bucket", Key="gone", Body=b"deleted again")
            s3.delete_object(Bucket="bucket", Key="gone")
            vault.kill()
            decoder = ROOT / "tests" / "decoder" / "open_vault.py"
            command = [sys.executable, str(decoder), str(vault.data)]
            found = subprocess.run(command, capture_output=True, text=True, timeout=120)
            vault.start()
        self.assertEqual(found.returncode, 0, found.stderr)
        for body in bodies:
            self.assertIn(hashlib.sha256(body).hexdigest(), found.stdout)
        self.assertNotIn(hashlib.sha256(b"deleted again").hexdigest(), found.stdout)


if __name__ == "__main__":
    unittest.main()
