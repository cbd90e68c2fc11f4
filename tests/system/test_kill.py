"""kill -9 under mixed load and upkeep, with a checker that shares nothing with the server.

Before each request the checker notes what it is about to do; after the answer, that it was acknowledged.
After each kill and start: every acknowledged write is there byte for byte, what was in flight is there
whole or not at all, and nothing else is there.
"""

import hashlib
import json
import os
import random
import subprocess
import threading
import time
import unittest

from botocore.exceptions import BotoCoreError, ClientError

from vault import BIN, LONG, Vault

KILLS = int(os.environ.get("READVAULT_KILLS", "1000" if LONG else "8"))
WORKERS = 6


class Worker(threading.Thread):
    """Writes, reads and deletes keys of its own until told to stop or the server is gone."""

    def __init__(self, vault, name, model, seed, stop):
        super().__init__(daemon=True)
        self.s3 = vault.client("s3", read_timeout=20, connect_timeout=5)
        self.name, self.model, self.stop = name, model, stop
        self.random = random.Random(seed)
        self.wrong = []

    def run(self):
        while not self.stop.is_set():
            try:
                self.step()
            except (BotoCoreError, ClientError, OSError):
                if self.stop.is_set():
                    return
                time.sleep(0.02)

    def step(self):
        key = f"{self.name}/{self.random.randrange(12)}"
        choice = self.random.random()
        if choice < 0.55:
            self.write(key, self.put)
        elif choice < 0.65:
            self.write(key, self.multipart)
        elif choice < 0.75:
            self.delete(key)
        else:
            self.read(key)

    def body(self, least=0):
        size = self.random.choice([0, 100, 4096, 65536, 70_000, 300_000, 1_500_000])
        # Some bodies repeat, so that deduplication is under load, too.
        if self.random.random() < 0.3:
            return b"same" * (max(size, least) // 4)
        return self.random.randbytes(max(size, least))

    def write(self, key, how):
        state = self.model.setdefault(key, {"acked": None, "maybe": []})
        body = self.body()
        state["maybe"].append(hashlib.sha256(body).hexdigest())
        how(key, body)
        state["acked"], state["maybe"] = state["maybe"][-1], []

    def put(self, key, body):
        self.s3.put_object(Bucket="load", Key=key, Body=body)

    def multipart(self, key, body):
        upload = self.s3.create_multipart_upload(Bucket="load", Key=key)["UploadId"]
        part = self.s3.upload_part(
            Bucket="load", Key=key, UploadId=upload, PartNumber=1, Body=body
        )
        parts = [{"PartNumber": 1, "ETag": part["ETag"]}]
        self.s3.complete_multipart_upload(
            Bucket="load", Key=key, UploadId=upload, MultipartUpload={"Parts": parts}
        )

    def delete(self, key):
        state = self.model.setdefault(key, {"acked": None, "maybe": []})
        state["maybe"].append(None)
        self.s3.delete_object(Bucket="load", Key=key)
        state["acked"], state["maybe"] = None, []

    def read(self, key):
        state = self.model.get(key, {"acked": None, "maybe": []})
        found = fetch(self.s3, key)
        if found not in (state["acked"], *state["maybe"]):
            self.wrong.append((key, found, dict(state)))


class Upkeep(threading.Thread):
    """What a vault does now and then, all the time: collects garbage and compacts, scrubs, takes checkpoints,
    rotates its keys and retires those that wrap nothing."""

    def __init__(self, vault, seed, stop):
        super().__init__(daemon=True)
        self.vault, self.stop = vault, stop
        self.random = random.Random(seed)
        self.wrong, self.done = [], 0

    def run(self):
        while not self.stop.is_set():
            self.random.choice([self.collect, self.collect, self.scrub, self.checkpoint, self.rotate])()

    def admin(self, *words):
        command = [str(BIN / "readvaultd"), *words, "--data", str(self.vault.data), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if done.returncode == 0:
            self.done += 1
            return json.loads(done.stdout)
        if not self.stop.is_set():
            self.wrong.append((words, done.stderr))
        return None

    def collect(self):
        self.admin("gc", "--dead-percent", "1")

    def scrub(self):
        scrubbed = self.admin("scrub", "--open-percent", "100")
        if scrubbed and scrubbed["damaged"]:
            self.wrong.append(scrubbed)

    def checkpoint(self):
        self.admin("checkpoint")

    def rotate(self):
        if not self.admin("keys", "rotate"):
            return
        standing = self.admin("keys", "status") or {"master_keys": {}}
        for name in standing["master_keys"]:
            if name != standing["newest"]:
                version = name.removeprefix("keyring/")
                self.admin("keys", "retire", version, "--confirm", version)


def fetch(s3, key):
    try:
        return hashlib.sha256(s3.get_object(Bucket="load", Key=key)["Body"].read()).hexdigest()
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchKey":
            return None
        raise


class Kill(unittest.TestCase):
    kills = KILLS

    def make_vault(self):
        return Vault()

    def test_no_acknowledged_write_is_lost(self):
        seed = int(os.environ.get("READVAULT_SEED", time.time_ns() % 1_000_000))
        print(f"seed {seed}, kills {self.kills}", flush=True)
        chance = random.Random(seed)
        models = [{} for _ in range(WORKERS)]
        acknowledged = upkeep = 0
        slowest = 0.0
        with self.make_vault() as vault:
            vault.client("s3").create_bucket(Bucket="load")
            for number in range(self.kills):
                stop = threading.Event()
                workers = [
                    Worker(vault, f"w{n}", models[n], seed * 1000 + number * WORKERS + n, stop)
                    for n in range(WORKERS)
                ]
                workers.append(Upkeep(vault, seed * 1000 + number, stop))
                for worker in workers:
                    worker.start()
                time.sleep(min(chance.expovariate(1 / 0.7), 4))
                stop.set()
                vault.kill()
                for worker in workers:
                    worker.join(30)
                    self.assertEqual(worker.wrong, [], "bytes that were never written, or upkeep that fails")
                upkeep += workers[-1].done
                began = time.monotonic()
                vault.start()
                slowest = max(slowest, time.monotonic() - began)
                acknowledged += self.check(vault, models, number)
        print(f"{self.kills} kills, {acknowledged} keys checked, {upkeep} commands of upkeep between them, "
              f"slowest start {slowest:.2f} s", flush=True)

    def check(self, vault, models, number):
        s3 = vault.client("s3")
        checked = 0
        for model in models:
            for key, state in model.items():
                found = fetch(s3, key)
                allowed = (state["acked"], *state["maybe"])
                self.assertIn(found, allowed, f"kill {number}: {key} holds what it may not")
                state["acked"], state["maybe"] = found, []
                checked += 1
        listed = s3.get_paginator("list_objects_v2").paginate(Bucket="load")
        there = {item["Key"] for page in listed for item in page.get("Contents", [])}
        expected = {key for model in models for key, state in model.items() if state["acked"]}
        self.assertEqual(there, expected, f"kill {number}: the listing differs")
        return checked


if __name__ == "__main__":
    unittest.main()
