"""Loss of the catalog and loss of the machine: rebuild, backup and restore with real clients."""

import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import tempfile
import threading
import time
import unittest

import botocore.exceptions

from vault import BIN, ROOT, Vault, wait_for

DATA = ROOT / "tests" / "data"
SERVER_UID = 61740


def daemon(*arguments, check=True):
    """An administrator's command; gives what it printed."""
    command = [str(BIN / "readvaultd"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if check and done.returncode != 0:
        raise AssertionError(f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def place(prefix):
    """A directory that the server may write to."""
    path = pathlib.Path(tempfile.mkdtemp(prefix=prefix))
    if os.geteuid() == 0:
        os.chown(path, SERVER_UID, SERVER_UID)
    return path


def body(seed, length):
    return random.Random(seed).randbytes(length)


class Content:
    """What a test put into a vault, and the check that it is still there."""

    def __init__(self, vault):
        self.vault = vault
        self.s3, self.omics = vault.client("s3"), vault.client("omics")
        self.objects, self.read_sets, self.deleted = {}, {}, []
        self.s3.create_bucket(Bucket="samples")
        self.s3.create_bucket(Bucket="empty-one")
        self.store = self.omics.create_sequence_store(name="cohort", tags={"study": "x"})["id"]

    def put(self, key, data, **more):
        etag = self.s3.put_object(Bucket="samples", Key=key, Body=data, **more)["ETag"]
        self.objects[key] = (hashlib.sha256(data).hexdigest(), etag, more)

    def delete(self, key):
        self.s3.delete_object(Bucket="samples", Key=key)
        self.objects.pop(key, None)
        self.deleted.append(key)

    def multipart(self, key, parts):
        upload = self.s3.create_multipart_upload(Bucket="samples", Key=key)["UploadId"]
        done = []
        for number, part in enumerate(parts, 1):
            sent = self.s3.upload_part(Bucket="samples", Key=key, UploadId=upload,
                                       PartNumber=number, Body=part)
            done.append({"PartNumber": number, "ETag": sent["ETag"]})
        etag = self.s3.complete_multipart_upload(
            Bucket="samples", Key=key, UploadId=upload, MultipartUpload={"Parts": done})["ETag"]
        self.objects[key] = (hashlib.sha256(b"".join(parts)).hexdigest(), etag, {})

    def read_set(self, name, path, kind="FASTQ"):
        upload = self.omics.create_multipart_read_set_upload(
            sequenceStoreId=self.store, sourceFileType=kind, subjectId="sub", sampleId="sam",
            generatedFrom="x", name=name, tags={"k": name})["uploadId"]
        data = path.read_bytes()
        sent = self.omics.upload_read_set_part(sequenceStoreId=self.store, uploadId=upload,
                                               partSource="SOURCE1", partNumber=1, payload=data)
        made = self.omics.complete_multipart_read_set_upload(
            sequenceStoreId=self.store, uploadId=upload,
            parts=[{"partNumber": 1, "partSource": "SOURCE1", "checksum": sent["checksum"]}],
        )["readSetId"]

        def active():
            found = self.omics.get_read_set_metadata(sequenceStoreId=self.store, id=made)
            if found["status"] == "UPLOAD_FAILED":
                raise AssertionError(found)
            return found if found["status"] == "ACTIVE" else None

        found = wait_for(active)
        found.pop("ResponseMetadata")
        self.read_sets[made] = (hashlib.sha256(data).hexdigest(), found)
        return made

    def fill(self):
        self.put("small", b"a few bytes", ContentType="text/x", Metadata={"who": "me"})
        self.put("dir/large", body(1, 3_500_001))
        self.put("empty", b"")
        self.put("dir/replaced", b"old")
        self.put("dir/replaced", body(2, 90_000))
        self.put("gone", body(3, 200_000))
        self.delete("gone")
        self.multipart("parts", [body(4, 5 << 20), body(5, 1_000_000)])
        self.read_set("reads", DATA / "NA12878_mito_S1_L001_R1_001.fastq.gz")
        self.read_set("aligned", DATA / "NA12878.mito.bam", "BAM")

    def check(self, case, vault=None):
        """Everything is back, byte for byte, listed under its name, and nothing else."""
        vault = vault or self.vault
        s3, omics = vault.client("s3"), vault.client("omics")
        listed = s3.list_objects_v2(Bucket="samples").get("Contents", [])
        case.assertEqual(sorted(found["Key"] for found in listed), sorted(self.objects))
        for key, (sha256, etag, more) in self.objects.items():
            found = s3.get_object(Bucket="samples", Key=key)
            case.assertEqual(hashlib.sha256(found["Body"].read()).hexdigest(), sha256, key)
            case.assertEqual(found["ETag"], etag, key)
            for name in ("ContentType", "Metadata"):
                if name in more:
                    case.assertEqual(found[name], more[name], key)
        buckets = {found["Name"] for found in s3.list_buckets()["Buckets"]}
        case.assertLessEqual({"samples", "empty-one"}, buckets)
        stores = omics.list_sequence_stores()["sequenceStores"]
        case.assertEqual([found["name"] for found in stores], ["cohort"])
        listed = omics.list_read_sets(sequenceStoreId=self.store)["readSets"]
        case.assertEqual({found["id"] for found in listed}, set(self.read_sets))
        for made, (sha256, told) in self.read_sets.items():
            found = omics.get_read_set_metadata(sequenceStoreId=self.store, id=made)
            found.pop("ResponseMetadata")
            case.assertEqual(found, told)
            got = omics.get_read_set(sequenceStoreId=self.store, id=made, file="SOURCE1",
                                     partNumber=1)["payload"].read()
            case.assertEqual(hashlib.sha256(got).hexdigest(), sha256)


def break_catalog(data, how):
    catalog = data / "catalog"
    if how == "deleted":
        shutil.rmtree(catalog)
        return
    for path in catalog.iterdir():
        if path.is_file():
            raw = bytearray(path.read_bytes())
            for at in range(0, len(raw), 512):
                raw[at] ^= 0xFF
            path.write_bytes(raw)


class CatalogLoss(unittest.TestCase):
    """R10: the catalog is lost wholly; everything comes back."""

    def drill(self, how, alone):
        with Vault() as vault:
            content = Content(vault)
            content.fill()
            if not alone:
                daemon("checkpoint", "--data", vault.data)
            # After the checkpoint: new, replaced and deleted things, and a read set.
            content.put("after", body(10, 1_200_000))
            content.put("small", b"other bytes", ContentType="text/y")
            content.delete("empty")
            content.read_set("later", DATA / "NA12878_mito_S1_L001_R2_001.fastq.gz")
            vault.kill()
            break_catalog(vault.data, how)
            flags = ["--from-packs-alone"] if alone else []
            told = daemon("rebuild", "--data", vault.data, *flags)
            self.assertRegex(told, r"chunks/s")
            vault.start()
            content.check(self)
            # New names are new, and writing goes on.
            content.put("new", body(11, 70_000))
            content.read_set("newest", DATA / "NA12878_mito_S1_L001_R1_001.fastq.gz")
            content.check(self)
            if alone:
                self.refused_until_accepted(vault)
            vault.stop()
            vault.start()
            content.check(self)

    def refused_until_accepted(self, vault):
        self.assertIn("nobody but root", vault.tail(200))
        vault.stop()
        self.assertIn("accepted", daemon("accept-rebuild", "--data", vault.data))
        self.assertIn("nothing to accept", daemon("accept-rebuild", "--data", vault.data))
        vault.start()
        self.assertNotIn("nobody but root", vault.tail(5))

    def test_a_deleted_catalog_comes_back_from_its_checkpoint(self):
        self.drill("deleted", alone=False)

    def test_a_corrupted_catalog_comes_back_from_its_checkpoint(self):
        self.drill("corrupted", alone=False)

    def test_a_deleted_catalog_comes_back_from_packs_alone(self):
        self.drill("deleted", alone=True)

    def test_a_broken_checkpoint_is_passed_over(self):
        with Vault() as vault:
            content = Content(vault)
            content.fill()
            daemon("checkpoint", "--data", vault.data)
            time.sleep(1.1)
            content.put("between", body(20, 100_000))
            newest = daemon("checkpoint", "--data", vault.data)
            content.put("behind", body(21, 100_000))
            vault.kill()
            name = re.search(r"checkpoints/(\S+)", newest).group(1)
            for path in (vault.data / "checkpoints" / name).iterdir():
                path.write_bytes(path.read_bytes()[::-1])
            break_catalog(vault.data, "deleted")
            told = daemon("rebuild", "--data", vault.data)
            self.assertIn("passed over", told)
            vault.start()
            content.check(self)

    def test_a_live_server_is_not_rebuilt_under(self):
        with Vault() as vault:
            vault.client("s3").create_bucket(Bucket="one")
            told = daemon("rebuild", "--data", vault.data, "--from-packs-alone", check=False)
            self.assertIn("stop it first", told)


class Machine(unittest.TestCase):
    """R12: a backup under load, restored elsewhere."""

    def load(self, vault, stop, acknowledged):
        s3 = vault.client("s3")
        number = 0
        while not stop.is_set():
            key, data = f"load/{threading.get_ident()}/{number}", body(number, 1000 + 40_000 * (number % 9))
            try:
                s3.put_object(Bucket="load", Key=key, Body=data)
            except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError):
                continue
            acknowledged.append((time.monotonic(), key, hashlib.sha256(data).hexdigest()))
            number += 1

    def test_a_backup_under_load_is_restored_elsewhere(self):
        to, keys_to = place("rv-backup-"), place("rv-keys-")
        elsewhere = pathlib.Path(tempfile.mkdtemp(prefix="rv-restored-"))
        self.addCleanup(lambda: [shutil.rmtree(p, ignore_errors=True) for p in (to, keys_to)])
        with Vault() as vault:
            content = Content(vault)
            content.fill()
            vault.client("s3").create_bucket(Bucket="load")
            stop, acknowledged = threading.Event(), []
            threads = [threading.Thread(target=self.load, args=(vault, stop, acknowledged))
                       for _ in range(3)]
            [thread.start() for thread in threads]
            self.addCleanup(stop.set)
            time.sleep(3)
            first = daemon("backup", "--data", vault.data, "--to", to, "--keys-to", keys_to)
            time.sleep(2)
            began = time.monotonic()
            second = daemon("backup", "--data", vault.data, "--to", to, "--keys-to", keys_to)
            stop.set()
            [thread.join() for thread in threads]
            print("\n", first, second)
            self.assertIn("as listed", daemon("backup", "verify", "--from", to))
            before = [(key, sha256) for at, key, sha256 in acknowledged if at < began]
            self.assertGreater(len(before), 20)
            key = shutil.copy(vault.data / "dev.key", keys_to.parent / f"{keys_to.name}.key")
            self.addCleanup(os.unlink, key)
        told = daemon("restore", "--from", to, "--keys-from", keys_to, "--data", elsewhere,
                      "--key-file", key, "--verify", "full")
        print(told)
        self.assertIn("0 wrong", told)
        # A second restore over it is refused, and so is one with the keys of nobody.
        told = daemon("restore", "--from", to, "--keys-from", keys_to, "--data", elsewhere,
                      "--key-file", key, check=False)
        self.assertIn("not empty", told)
        shutil.copy(key, elsewhere / "dev.key")
        with Vault(data=elsewhere) as restored:
            content.check(self, restored)
            s3 = restored.client("s3")
            for name, sha256 in before:
                got = s3.get_object(Bucket="load", Key=name)["Body"].read()
                self.assertEqual(hashlib.sha256(got).hexdigest(), sha256, name)
            print(f"{len(before)} objects acknowledged before the backup are byte-exact")
        shutil.rmtree(elsewhere, ignore_errors=True)

    def test_what_was_erased_stays_erased(self):
        """An old copy of packs and catalog, with the newest keys: the read set does not open."""
        to, old, keys_to = place("rv-backup-"), place("rv-old-"), place("rv-keys-")
        elsewhere = pathlib.Path(tempfile.mkdtemp(prefix="rv-restored-"))
        for path in (to, old, keys_to, elsewhere):
            self.addCleanup(shutil.rmtree, path, True)
        with Vault() as vault:
            content = Content(vault)
            content.fill()
            daemon("backup", "--data", vault.data, "--to", to, "--keys-to", keys_to)
            shutil.copytree(to, old, dirs_exist_ok=True)
            gone = next(iter(content.read_sets))
            daemon("erase", "read-set", "--data", vault.data, "--store", content.store,
                   "--read-set", gone, "--reason", "drill", "--confirm", gone)
            content.read_sets.pop(gone)
            daemon("backup", "--data", vault.data, "--to", to, "--keys-to", keys_to)
            key = shutil.copy(vault.data / "dev.key", keys_to.parent / f"{keys_to.name}.key")
            self.addCleanup(os.unlink, key)
        told = daemon("restore", "--from", old, "--keys-from", keys_to, "--data", elsewhere,
                      "--key-file", key, "--verify", "full")
        self.assertIn("0 wrong", told)
        shutil.copy(key, elsewhere / "dev.key")
        with Vault(data=elsewhere) as restored:
            content.check(self, restored)
            omics = restored.client("omics")
            with self.assertRaises(botocore.exceptions.ClientError):
                omics.get_read_set(sequenceStoreId=content.store, id=gone, file="SOURCE1",
                                   partNumber=1)["payload"].read()

    def test_packs_that_are_gone_are_mended_from_a_second_copy(self):
        to, keys_to = place("rv-backup-"), place("rv-keys-")
        self.addCleanup(lambda: [shutil.rmtree(p, ignore_errors=True) for p in (to, keys_to)])
        with Vault() as vault:
            content = Content(vault)
            content.fill()
            daemon("backup", "--data", vault.data, "--to", to, "--keys-to", keys_to)
            vault.stop()
            for pack in (to / "packs").iterdir():
                (vault.data / "packs" / pack.name).unlink()
            vault.start()
            s3 = vault.client("s3")
            with self.assertRaises((botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError)):
                s3.get_object(Bucket="samples", Key="dir/large")["Body"].read()
            self.assertRegex(daemon("scrub", "--data", vault.data), r"[1-9]\d* damaged records, 0 of them")
            vault.stop()
            vault.extra = ("--second-copy", str(to))
            vault.start()
            told = daemon("scrub", "--data", vault.data)
            self.assertRegex(told, r"([1-9]\d*) damaged records, \1 of them mended")
            content.check(self)
            self.assertIn("no damage", daemon("scrub", "--data", vault.data))

    def test_a_damaged_backup_is_told(self):
        to, keys_to = place("rv-backup-"), place("rv-keys-")
        self.addCleanup(lambda: [shutil.rmtree(p, ignore_errors=True) for p in (to, keys_to)])
        with Vault() as vault:
            content = Content(vault)
            content.put("x", body(1, 300_000))
            same = daemon("backup", "--data", vault.data, "--to", to, "--keys-to", to / "keys",
                          check=False)
            self.assertIn("apart", same)
            shutil.rmtree(to / "keys", ignore_errors=True)
            daemon("backup", "--data", vault.data, "--to", to, "--keys-to", keys_to)
            listed = json.loads((to / "backup.json").read_text())
            self.assertFalse(any("shred" in name or "keyring" in name for name in listed["files"]))
            pack = next((to / "packs").iterdir())
            raw = bytearray(pack.read_bytes())
            raw[len(raw) // 2] ^= 1
            pack.write_bytes(raw)
            told = daemon("backup", "verify", "--from", to, check=False)
            self.assertIn("other bytes than listed", told)
            elsewhere = pathlib.Path(tempfile.mkdtemp(prefix="rv-restored-"))
            self.addCleanup(shutil.rmtree, elsewhere, True)
            told = daemon("restore", "--from", to, "--keys-from", keys_to, "--data", elsewhere,
                          "--key-file", vault.data / "dev.key", check=False)
            self.assertIn("the backup is damaged", told)


if __name__ == "__main__":
    unittest.main()
