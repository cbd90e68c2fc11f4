"""Vaults whose catalog is in a PostgreSQL database: the suites of S3 and of kills, and the database's own end."""

import os
import signal
import subprocess
import unittest

import test_kill
import test_s3
from botocore.exceptions import BotoCoreError, ClientError

from postgres import Cluster, binaries
from vault import BIN, LONG, Vault, VaultCase, wait_for

NEEDED = unittest.skipUnless(
    binaries(), "SKIPPED: PostgreSQL is not installed; scripts/setup does it"
)


class WithCluster:
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster()
        cls.addClassCleanup(cls.cluster.close)
        super().setUpClass()

    @classmethod
    def make_vault(cls):
        return Vault(extra=["--catalog", cls.cluster.database()])


@NEEDED
class S3OnPostgres(WithCluster, test_s3.S3):
    pass


@NEEDED
class KillOnPostgres(WithCluster, test_kill.Kill):
    kills = 40 if LONG else 4


@NEEDED
class Database(WithCluster, VaultCase):
    def test_a_crash_of_the_database_loses_nothing(self):
        self.s3.create_bucket(Bucket="crash")
        bodies = {}
        for number in range(5):
            for item in range(4):
                key = f"{number}/{item}"
                bodies[key] = os.urandom(200_000)
                self.s3.put_object(Bucket="crash", Key=key, Body=bodies[key])
            self.cluster.stop(signal.SIGQUIT)
            with self.assertRaises(ClientError) as caught:
                self.s3.put_object(Bucket="crash", Key="meanwhile", Body=b"lost")
            status = caught.exception.response["ResponseMetadata"]["HTTPStatusCode"]
            self.assertEqual(status, 503)
            self.cluster.start()
            wait_for(self.answers, seconds=30)
            for key, body in bodies.items():
                got = self.s3.get_object(Bucket="crash", Key=key)
                self.assertEqual(got["Body"].read(), body)

    def answers(self):
        try:
            self.s3.put_object(Bucket="crash", Key="again", Body=b"again")
            return self.s3.get_object(Bucket="crash", Key="again")["Body"].read()
        except (BotoCoreError, ClientError):
            return None

    def test_the_administrator_of_the_database_sees_names_and_no_values(self):
        self.s3.create_bucket(Bucket="words")
        self.s3.put_object(
            Bucket="words", Key="zebra-object", Body=b"zebra-body " * 1000,
            Metadata={"word": "zebra-metadata"}, Tagging="zebra-tag=zebra-value",
        )
        dump = self.cluster.dump("vault0")
        self.assertIn(b"zebra-object".hex().encode(), dump)
        for word in [b"zebra-body", b"zebra-metadata", b"zebra-tag", b"zebra-value"]:
            self.assertNotIn(word, dump)
            self.assertNotIn(word.hex().encode(), dump)

    def test_the_place_of_a_catalog_is_kept(self):
        url = self.cluster.database()
        with Vault(extra=["--catalog", url]) as vault:
            vault.client("s3").create_bucket(Bucket="kept")
            vault.stop()
            vault.extra = []
            with self.assertRaisesRegex(RuntimeError, "in a database"):
                vault.start()
            vault.extra = ["--catalog", url]
            vault.start()
            vault.client("s3").head_bucket(Bucket="kept")
        with Vault() as vault:
            vault.stop()
            vault.extra = ["--catalog", self.cluster.database()]
            with self.assertRaisesRegex(RuntimeError, "in its data directory"):
                vault.start()

    def test_the_doctor_looks_at_the_database(self):
        def doctor(url):
            command = [BIN / "readvaultd", "doctor", "--catalog", url]
            return subprocess.run(command, capture_output=True, text=True).stdout

        self.assertIn("ok       database of the catalog: PostgreSQL", doctor(self.cluster.database()))
        nowhere = doctor("postgresql://readvault@/vault?host=/nowhere")
        self.assertIn("missing  database of the catalog", nowhere)


if __name__ == "__main__":
    unittest.main()
