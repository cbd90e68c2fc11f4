"""What an administrator does to a live server: status, rotation of keys, erasure with receipts.

Nothing of this moves or stops data: rotation runs under load, and both survive a kill at any time.
"""

import hashlib
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from botocore.exceptions import BotoCoreError, ClientError

from vault import BIN, LONG, ROOT, Vault, wait_for

KILLS = 40 if LONG else 6
LOGS = ("keys.log", "keys.log.copy")
SLOTS = ("shred.slots", "shred.slots.copy")


def fastq(reads, seed):
    return b"".join(b"@r%d_%d\n%s\n+\n%s\n" % (seed, n, b"ACGT" * 30, b"I" * 120)
                    for n in range(reads))


class Admin(unittest.TestCase):
    """A vault of its own for each test, and the program that asks it."""

    def setUp(self):
        self.vault = Vault().start()
        self.addCleanup(self.vault.close)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="rv-admin-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def admin(self, *words, code=0, data=None):
        """The JSON of an answer; the words of a refusal when `code` is not 0."""
        command = [BIN / "readvaultd", *words, "--data", data or self.vault.data, "--json"]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, code, f"{words}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout) if code == 0 else done.stderr

    def store(self):
        self.omics = self.vault.client("omics")
        return self.omics.create_sequence_store(name="store")["id"]

    def upload(self, store, text):
        """The id of a read set that is ACTIVE."""
        upload = self.omics.create_multipart_read_set_upload(
            sequenceStoreId=store, sourceFileType="FASTQ", subjectId="subject", sampleId="sample", name="n"
        )["uploadId"]
        checksum = self.omics.upload_read_set_part(
            sequenceStoreId=store, uploadId=upload, partSource="SOURCE1", partNumber=1, payload=text
        )["checksum"]
        parts = [{"partNumber": 1, "partSource": "SOURCE1", "checksum": checksum}]
        read_set = self.omics.complete_multipart_read_set_upload(
            sequenceStoreId=store, uploadId=upload, parts=parts
        )["readSetId"]

        def active():
            found = self.omics.get_read_set_metadata(sequenceStoreId=store, id=read_set)
            return found if found["status"] != "PROCESSING_UPLOAD" else None

        self.assertEqual(wait_for(active)["status"], "ACTIVE")
        return read_set

    def bytes_of(self, store, read_set):
        answer = self.omics.get_read_set(sequenceStoreId=store, id=read_set, partNumber=1)
        return answer["payload"].read()

    def copied(self, name):
        """A copy of the data directory of the stopped vault."""
        target = self.folder / name
        ignore = shutil.ignore_patterns("admin.sock")
        shutil.copytree(self.vault.data, target, ignore=ignore)
        return target


class Status(Admin):
    def test_status_tells_how_the_server_stands(self):
        self.vault.client("s3").create_bucket(Bucket="bucket")
        standing = self.admin("status")
        self.assertEqual(standing["master_keys"], {"keyring/v1": {"vault_keys": 2, "store_keys": 1}})
        self.assertGreater(standing["free_bytes"], 0)
        self.assertEqual(standing["uploads_open"], 0)
        text = subprocess.run([str(BIN / "readvaultd"), "status", "--data", str(self.vault.data)],
                              capture_output=True, text=True, check=True).stdout
        self.assertIn("keyring/v1 wraps 2 vault and 1 store keys", text)
        self.vault.stop()
        self.assertIn("no server runs", self.admin("status", code=1))

    @unittest.skipIf(os.geteuid() != 0, "only root can become somebody else")
    def test_nobody_else_may_ask(self):
        self.vault.data.chmod(0o755)
        (self.vault.data / "admin.sock").chmod(0o666)
        command = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups",
                   str(BIN / "readvaultd"), "status", "--data", str(self.vault.data)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(done.stdout, "")
        self.assertIn("a stranger spoke to the socket of administrators", self.vault.tail())


class Load(threading.Thread):
    """Puts and gets objects until told to stop; what went wrong is in `wrong`."""

    def __init__(self, vault, name, stop):
        super().__init__(daemon=True)
        self.s3, self.name, self.stop = vault.client("s3"), name, stop
        self.wrong, self.kept = [], {}

    def run(self):
        number = 0
        while not self.stop.is_set():
            body = os.urandom(random.choice([10, 70_000, 300_000]))
            try:
                bucket = f"{self.name}-{number % 5}"
                if number < 5:
                    self.s3.create_bucket(Bucket=bucket)
                self.s3.put_object(Bucket=bucket, Key=f"k{number}", Body=body)
                self.kept[bucket, f"k{number}"] = body
                found = self.s3.get_object(Bucket=bucket, Key=f"k{number}")["Body"].read()
                if found != body:
                    self.wrong.append("other bytes")
            except (BotoCoreError, ClientError, OSError) as cause:
                self.wrong.append(repr(cause))
            number += 1


class Rotation(Admin):
    def packs(self):
        """Digest of what each pack holds so far, by name and length."""
        found = {}
        for path in (self.vault.data / "packs").glob("*.pack"):
            data = path.read_bytes()
            found[path.name] = (len(data), hashlib.sha256(data).hexdigest())
        return found

    def same_packs(self, before):
        for name, (length, digest) in before.items():
            data = (self.vault.data / "packs" / name).read_bytes()[:length]
            self.assertEqual(hashlib.sha256(data).hexdigest(), digest, name)

    def read_all(self, loads):
        s3 = self.vault.client("s3")
        for load in loads:
            for (bucket, key), body in load.kept.items():
                self.assertEqual(s3.get_object(Bucket=bucket, Key=key)["Body"].read(), body)

    def test_keys_rotate_under_load_and_no_data_moves(self):
        stop = threading.Event()
        loads = [Load(self.vault, f"load{n}", stop) for n in range(3)]
        for load in loads:
            load.start()
        wait_for(lambda: all(len(load.kept) > 6 for load in loads) or None)
        before = self.packs()
        plan = self.admin("keys", "rotate", "--dry-run")
        self.assertEqual((plan["would_add"], plan["would_rewrap"]), (1, 17))
        for version in (2, 3):
            rotated = self.admin("keys", "rotate")
            self.assertEqual(rotated, {"newest": f"keyring/v{version}", "rewrapped": 17})
            count = sum(len(load.kept) for load in loads)
            wait_for(lambda: sum(len(load.kept) for load in loads) > count + 10 or None)
        self.assertIn("wraps new keys", self.admin("keys", "retire", "v3", "--confirm", "v3", code=5))
        self.admin("keys", "retire", "v1", "--confirm", "v1")
        wait_for(lambda: all(len(load.kept) > 20 for load in loads) or None)
        stop.set()
        for load in loads:
            load.join()
            self.assertEqual(load.wrong, [])
        self.same_packs(before)
        self.assertEqual(set(self.admin("keys", "status")["master_keys"]), {"keyring/v2", "keyring/v3"})
        self.admin("keys", "retire", "v2", "--confirm", "v2")
        self.vault.kill()
        self.vault.start()
        self.read_all(loads)
        decoder = ROOT / "tests" / "decoder" / "open_vault.py"
        found = subprocess.run([sys.executable, str(decoder), str(self.vault.data)],
                               capture_output=True, text=True, timeout=120)
        self.assertEqual(found.returncode, 0, found.stderr)

    def test_an_old_keyring_does_not_open_what_came_after_a_rotation(self):
        keyring = (self.vault.data / "keyring").read_bytes()
        self.vault.client("s3").create_bucket(Bucket="before")
        self.admin("keys", "rotate")
        self.vault.client("s3").create_bucket(Bucket="after")
        self.vault.stop()
        copy = self.copied("copy")
        (copy / "keyring").write_bytes(keyring)
        other = Vault(data=copy)
        self.addCleanup(other.close)
        with self.assertRaises(RuntimeError):
            other.start()
        self.assertIn("keys of the vault can't be opened", other.tail())

    def test_a_killed_rotation_is_finished_by_the_next_start(self):
        s3 = self.vault.client("s3")
        bodies = {f"bucket{n}": os.urandom(70_000) for n in range(8)}
        for bucket, body in bodies.items():
            s3.create_bucket(Bucket=bucket)
            s3.put_object(Bucket=bucket, Key="k", Body=body)
        for kill in range(KILLS):
            asking = subprocess.Popen(
                [str(BIN / "readvaultd"), "keys", "rotate", "--data", str(self.vault.data)],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(0.006 * (kill % 6))
            self.vault.kill()
            asking.wait()
            self.vault.start()
            status = self.admin("keys", "status")
            self.assertEqual(status["stale"], 0)
            self.assertEqual(status["master_keys"][status["newest"]]["store_keys"], 8)
            s3 = self.vault.client("s3")
            for bucket, body in bodies.items():
                self.assertEqual(s3.get_object(Bucket=bucket, Key="k")["Body"].read(), body)


class Erasure(Admin):
    def erase(self, store, read_set, **options):
        return self.admin("erase", "read-set", "--store", store, "--read-set", read_set,
                          "--reason", "ticket IRB-311", "--confirm", read_set, **options)

    def object_key(self, store, read_set):
        found = self.omics.get_read_set_metadata(sequenceStoreId=store, id=read_set)
        uri = found["files"]["source1"]["s3Access"]["s3Uri"]
        return uri.removeprefix("s3://").split("/", 1)

    def test_an_erased_read_set_opens_nowhere(self):
        store = self.store()
        text, other = fastq(8000, 1), fastq(4000, 2)
        one, twin = self.upload(store, text), self.upload(store, text)
        kept = self.upload(store, other)
        bucket, key = self.object_key(store, one)
        self.vault.stop()
        old = self.copied("old")
        self.vault.start()
        self.omics = self.vault.client("omics")

        refused = self.admin("erase", "read-set", "--store", store, "--read-set", one,
                             "--reason", "r", code=2)
        self.assertIn("--dry-run", refused)
        plan = self.admin("erase", "read-set", "--store", store, "--read-set", one,
                          "--reason", "r", "--dry-run")
        self.assertEqual([item["kind"] for item in plan["shared"]["items"]], ["read set"])
        self.assertEqual(self.bytes_of(store, one), text, "a plan changes nothing")
        signed = self.erase(store, one)
        receipt = signed["receipt"]
        self.assertEqual(receipt["resource"], f"sequenceStore/{store}/readSet/{one}")
        self.assertEqual(receipt["by"], f"uid {os.geteuid()}")
        self.assertIn("was erased: see receipt 1", self.erase(store, one, code=3))

        for call in (self.omics.get_read_set_metadata, self.omics.get_read_set):
            more = {"partNumber": 1} if call == self.omics.get_read_set else {}
            with self.assertRaises(ClientError) as caught:
                call(sequenceStoreId=store, id=one, **more)
            status = caught.exception.response["ResponseMetadata"]["HTTPStatusCode"]
            self.assertEqual(status, 404)
        with self.assertRaises(ClientError) as caught:
            self.vault.client("s3").get_object(Bucket=bucket, Key=key)
        self.assertEqual(caught.exception.response["ResponseMetadata"]["HTTPStatusCode"], 404)
        self.assertEqual(self.bytes_of(store, twin), text, "who shares its bytes keeps them")
        self.assertEqual(self.bytes_of(store, kept), other)
        self.check_receipt(signed)

        self.vault.stop()
        decoder = ROOT / "tests" / "decoder" / "open_vault.py"
        listed = subprocess.run([sys.executable, str(decoder), str(self.vault.data)],
                                capture_output=True, text=True, timeout=120)
        self.assertEqual(listed.returncode, 0, listed.stderr)
        self.assertNotIn(receipt["item"], listed.stdout)
        self.assertIn(hashlib.sha256(other).hexdigest(), listed.stdout)

        # The old copy has rows, packs and keys; with today's slots it opens the others only.
        for name in SLOTS:
            shutil.copy2(self.vault.data / name, old / name)
        restored = Vault(data=old)
        self.addCleanup(restored.close)
        restored.start()
        omics = restored.client("omics", read_timeout=20)
        found = omics.get_read_set_metadata(sequenceStoreId=store, id=one)
        self.assertEqual(found["status"], "ACTIVE", "its row is still in the old catalog")
        with self.assertRaises((ClientError, BotoCoreError)):
            omics.get_read_set(sequenceStoreId=store, id=one, partNumber=1)["payload"].read()
        answer = omics.get_read_set(sequenceStoreId=store, id=kept, partNumber=1)
        self.assertEqual(answer["payload"].read(), other)

        # With today's receipts, too, its start erases the read set again.
        restored.stop()
        shutil.rmtree(old / "receipts")
        shutil.copytree(self.vault.data / "receipts", old / "receipts")
        restored.start()
        with self.assertRaises(ClientError) as caught:
            restored.client("omics").get_read_set_metadata(sequenceStoreId=store, id=one)
        self.assertEqual(caught.exception.response["ResponseMetadata"]["HTTPStatusCode"], 404)

    def check_receipt(self, signed):
        key = self.admin("receipts", "key")["key"]
        self.assertEqual(self.admin("receipts", "show", "1"), signed)
        listed = self.admin("receipts", "list")["receipts"]
        self.assertEqual([one["number"] for one in listed], [1])
        file = self.folder / "receipt.json"
        file.write_text(json.dumps(signed, indent=1))
        self.assertTrue(self.admin("receipts", "verify", file, "--key", key)["genuine"])
        self.admin("receipts", "verify", file, "--key", "0" * 64, code=6)
        for field, value in (("reason", "other"), ("slot", 99), ("time_done", "")):
            changed = {**signed, "receipt": {**signed["receipt"], field: value}}
            file.write_text(json.dumps(changed))
            self.admin("receipts", "verify", file, "--key", key, code=6)
        # By another implementation, from the document alone.
        sys.path.insert(0, str(ROOT / "tests" / "decoder"))
        import readvault_decoder as rv

        signature = bytes.fromhex(signed["signature"])
        self.assertTrue(rv.is_signed(signed["receipt"], signature, bytes.fromhex(key)))

    def test_a_killed_erasure_is_whole_or_has_not_begun(self):
        store = self.store()
        texts = [fastq(1200, seed) for seed in range(KILLS)]
        read_sets = [self.upload(store, text) for text in texts]
        finished = 0
        for kill, (read_set, text) in enumerate(zip(read_sets, texts)):
            command = [str(BIN / "readvaultd"), "erase", "read-set", "--store", store, "--read-set",
                       read_set, "--reason", "r", "--confirm", read_set, "--data", str(self.vault.data)]
            asking = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(0.04 * kill / KILLS)
            self.vault.kill()
            asking.wait()
            self.vault.start()
            self.omics = self.vault.client("omics")
            receipts = self.admin("receipts", "list")["receipts"]
            resource = f"sequenceStore/{store}/readSet/{read_set}"
            done = [one for one in receipts if one["resource"] == resource]
            if done:
                self.assertTrue(done[0]["time_done"], "a start finishes what was begun")
                finished += 1
                with self.assertRaises(ClientError):
                    self.bytes_of(store, read_set)
            else:
                self.assertEqual(self.bytes_of(store, read_set), text)
        print(f"{finished} of {KILLS} erasures were finished", file=sys.stderr)
        self.assertTrue(all(one["time_done"] for one in self.admin("receipts", "list")["receipts"]))


def memory_of(pid):
    """What a process has in memory, region by region."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            span, rights, *_ = line.split()
            if not rights.startswith("rw"):
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            memory.seek(start)
            try:
                yield memory.read(end - start)
            except OSError:
                continue


@unittest.skipUnless(os.geteuid() == 0, "only root can read the memory of the server")
class Memory(Admin):
    """Keys that may not be used any more are in no byte of the server's memory."""

    def server(self):
        parent = self.vault.process.pid
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rsplit(")", 1)[1].split()
                command = (stat.parent / "cmdline").read_bytes()
            except OSError:
                continue
            if int(fields[1]) == parent and b"--launched" in command:
                return int(stat.parent.name)
        raise AssertionError("the server is not there")

    def held(self, secrets):
        """Names of the secrets that are in memory now."""
        found = set()
        for region in memory_of(self.server()):
            found |= {name for name, secret in secrets.items() if secret in region}
        return found

    def secrets(self, store, read_set):
        sys.path.insert(0, str(ROOT / "tests" / "decoder"))
        import open_vault

        vault = open_vault.Vault(self.vault.data, (self.vault.data / "dev.key").read_bytes())

        def read():
            # A batch that is being written while its pack is read is not whole: look again.
            try:
                return vault.read_packs()
            except open_vault.rv.Refused:
                return None

        packs, _, manifests = wait_for(read)
        heads = [open_vault.rv.open_manifest(packs[pack][offset : offset + length], vault.vault_key,
                                             vault.item_key) for pack, offset, length in manifests]
        item = next(head for head in heads if head.kind == 1)
        slot = open_vault.rv.read_slot(vault.slots[64 * item.slot : 64 * item.slot + 64], item.slot)
        return {"store key": vault.stores[item.store], "item key": vault.item_key(item), "slot": slot}

    def test_erased_and_expired_keys_leave_the_memory(self):
        store = self.store()
        read_set = self.upload(store, fastq(2000, 1))
        secrets = self.secrets(store, read_set)
        self.bytes_of(store, read_set)
        held = self.held(secrets)
        self.assertLessEqual({"store key", "item key"}, held, "the scan finds what is in use")
        self.assertNotIn("slot", held, "slots are read and wiped")
        self.admin("erase", "read-set", "--store", store, "--read-set", read_set, "--reason", "r",
                   "--confirm", read_set)
        self.assertNotIn("item key", self.held(secrets))
        if LONG:
            time.sleep(75)
            self.assertEqual(self.held(secrets), set(), "a store key serves for 60 s unasked")


if __name__ == "__main__":
    unittest.main()
