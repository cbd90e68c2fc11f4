"""A vault on a disk that fills up: a small file system of its own, on a loop device.

What was acknowledged stays readable, reads and deletes go on with no byte free, the listing is right, and
writes work again once there is room, without a restart. Needs root."""

import contextlib
import os
import pathlib
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest

from botocore.exceptions import BotoCoreError, ClientError

from vault import LONG, Vault, wait_for

FILLS = 20 if LONG else 2
MIB = 1 << 20
BUCKET = "full"


@contextlib.contextmanager
def disk(kind, size_mib):
    """A mounted file system of `size_mib` MiB; gone afterwards, whatever happens."""
    work = pathlib.Path(tempfile.mkdtemp(prefix="rv-disk-"))
    image, mount = work / "image", work / "mount"
    mount.mkdir()
    with open(image, "wb") as file:
        file.truncate(size_mib * MIB)
    options = {"ext4": ["-q", "-m", "0"], "xfs": ["-q", "-f"]}[kind]
    subprocess.run([f"mkfs.{kind}", *options, str(image)], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(mount)], check=True)
    try:
        os.chmod(mount, 0o755)
        yield mount
    finally:
        for _ in range(50):
            if subprocess.run(["umount", str(mount)], capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        else:
            subprocess.run(["umount", "-l", str(mount)])
        shutil.rmtree(work, ignore_errors=True)


def free_bytes(path):
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize


class Ballast:
    """A file that takes what the vault leaves."""

    def __init__(self, mount):
        self.path = mount / "ballast"

    def fill(self):
        with open(self.path, "ab", buffering=0) as file:
            for piece in (MIB, 64 << 10, 4 << 10):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(b"\0" * piece)
            with contextlib.suppress(OSError):
                os.fsync(file.fileno())

    def drop(self):
        self.path.unlink(missing_ok=True)
        os.sync()


class Model:
    """What was acknowledged, and how the server is asked for it."""

    def __init__(self, test, vault, seed):
        self.test, self.vault = test, vault
        self.random = random.Random(seed)
        self.there = {}
        self.count = 0
        self.codes = {}

    @property
    def s3(self):
        return self.vault.client("s3", read_timeout=60, connect_timeout=5)

    def attempt(self, call, *arguments):
        """True when `call` was acknowledged; notes the code of a refusal."""
        try:
            call(*arguments)
            return True
        except ClientError as error:
            code = error.response["Error"]["Code"]
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            self.codes[(code, status)] = self.codes.get((code, status), 0) + 1
        except (BotoCoreError, OSError) as error:
            name = type(error).__name__
            self.codes[(name, 0)] = self.codes.get((name, 0), 0) + 1
        return False

    def key(self):
        self.count += 1
        return f"object-{self.count:05}"

    def put(self, size):
        key, body = self.key(), self.random.randbytes(size)
        if self.attempt(lambda: self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)):
            self.there[key] = body
            return True
        return False

    def multipart(self, sizes):
        s3, key = self.s3, self.key()
        bodies = [self.random.randbytes(size) for size in sizes]

        def send():
            upload = s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
            name = {"Bucket": BUCKET, "Key": key, "UploadId": upload}
            parts = []
            for number, body in enumerate(bodies, 1):
                part = s3.upload_part(**name, PartNumber=number, Body=body)
                parts.append({"PartNumber": number, "ETag": part["ETag"]})
            s3.complete_multipart_upload(**name, MultipartUpload={"Parts": parts})

        if self.attempt(send):
            self.there[key] = b"".join(bodies)
            return True
        return False

    def delete(self, key):
        self.s3.delete_object(Bucket=BUCKET, Key=key)
        del self.there[key]

    def check(self, when):
        """All that was acknowledged is there byte for byte, and nothing else is listed."""
        s3 = self.s3
        listed = {
            item["Key"]
            for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
            for item in page.get("Contents", [])
        }
        # What was refused by a broken connection may have been kept: it is whole then, or not there.
        self.test.assertLessEqual(set(self.there), listed, f"{when}: acknowledged and not listed")
        for key, body in self.there.items():
            found = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
            self.test.assertEqual(found, body, f"{when}: {key} differs")
        return listed


@unittest.skipUnless(os.geteuid() == 0, "skipped: mounting a file system needs root")
class FullDisk(unittest.TestCase):
    def run_on(self, kind, size_mib, reserve_mib, left_mib):
        seed = int(os.environ.get("READVAULT_SEED", time.time_ns() % 1_000_000))
        print(f"{kind} {size_mib} MiB, seed {seed}, fills {FILLS}", flush=True)
        for number in range(FILLS):
            with disk(kind, size_mib) as mount, contextlib.ExitStack() as stack:
                data = mount / "data"
                data.mkdir()
                extra = ["--keep-free-mib", "0", "--reserve-mib", str(reserve_mib)]
                vault = Vault(data=data, extra=extra)
                vault.log.close()
                vault.log_path = mount.parent / "server.log"
                vault.log = open(vault.log_path, "ab")
                stack.callback(self.end, vault)
                vault.start()
                model, ballast = Model(self, vault, seed + number), Ballast(mount)
                model.s3.create_bucket(Bucket=BUCKET)
                self.fill(model, mount, ballast, number, left_mib * MIB)
                statuses = {status for _, status in model.codes}
                self.assertLessEqual(statuses, {507, 503, 0}, str(model.codes))
                log = vault.log_path.read_text(errors="replace")
                failed = log.count("a catalog commit failed")
                again = log.count("takes commits again")
                print(f"{kind} fill {number}: {len(model.there)} objects, refusals {model.codes}, "
                      f"catalog commits failed {failed}, opened anew {again}", flush=True)
                vault.process.send_signal(signal.SIGKILL)
                vault.process.wait()
                vault.start()
                model.check("after a kill")
                self.assertTrue(model.put(100_000), "a write after the restart")
                self.assertEqual(vault.stop(), 0)

    def end(self, vault):
        with contextlib.suppress(Exception):
            vault.stop()
        if vault.process and vault.process.poll() is None:
            vault.process.kill()
            vault.process.wait()
        vault.log.close()
        if not self._outcome.success:
            print(vault.log_path.read_text(errors="replace")[-6000:], flush=True)

    def fill(self, model, mount, ballast, number, left):
        process = model.vault.process.pid
        # Another program takes the disk but for a part, so that each fill meets its end.
        with open(ballast.path, "ab") as file:
            os.posix_fallocate(file.fileno(), 0, max(free_bytes(mount) - left, MIB))
        self.fill_by_uploads(model, number)
        model.check(f"fill {number}: full")
        self.delete_some(model, f"fill {number}: full", 0.3)
        # The reserve was let go for those; now its room is gone as well.
        ballast.fill()
        self.assertLess(free_bytes(mount), 64 << 10)
        self.assertEqual(self.refusal(model), ("InsufficientStorage", 507))
        self.exhaust_catalog(model, 8000 if LONG or number == 0 else 100)
        model.check(f"fill {number}: no byte free and no reserve")
        ballast.drop()
        self.writes_again(model, mount, number)
        # With the reserve held, deletes go on although no byte is free.
        ballast.fill()
        self.assertLess(free_bytes(mount), 64 << 10)
        model.check(f"fill {number}: no byte free")
        self.delete_some(model, f"fill {number}: no byte free", 0.5)
        self.assertEqual(self.refusal(model), ("InsufficientStorage", 507))
        ballast.drop()
        self.writes_again(model, mount, number)
        self.assertEqual(model.vault.process.pid, process)
        self.assertIsNone(model.vault.process.poll(), "the server lives")

    def exhaust_catalog(self, model, attempts):
        """Commits rows until the catalog's log and tables find no room, or `attempts` were made."""
        tags = {"TagSet": [{"Key": f"k{n}", "Value": "v" * 250} for n in range(10)]}
        keys, done, s3 = sorted(model.there), threading.Event(), model.s3

        def commit(worker):
            for _ in range(attempts // 8):
                if done.is_set():
                    return
                if not model.attempt(lambda: s3.put_object_tagging(
                        Bucket=BUCKET, Key=keys[worker % len(keys)], Tagging=tags)):
                    done.set()

        workers = [threading.Thread(target=commit, args=(n,)) for n in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def fill_by_uploads(self, model, number):
        refused = 0
        for step in range(1000):
            choice = step % 5
            if choice == 0:
                done = model.multipart([5 * MIB, 300_000])
            elif choice in (1, 2):
                done = model.put(model.random.choice([4096, 60_000]))
            else:
                done = model.put(model.random.choice([200_000, 1_500_000]))
            refused += not done
            if refused >= 6:
                return
        self.fail(f"fill {number}: the disk did not fill up")

    def delete_some(self, model, when, share):
        keys = model.random.sample(sorted(model.there), max(1, int(len(model.there) * share)))
        for key in keys:
            self.assertTrue(wait_for(lambda key=key: self.deleted(model, key), seconds=20))
        self.assertFalse(set(keys) & model.check(f"{when}, after deletes"), "a deleted key is listed")

    def writes_again(self, model, mount, number):
        when = f"fill {number}: with room again"
        self.assertTrue(wait_for(lambda: model.put(100_000) or None, seconds=30), when)
        held = mount / "data" / "reserve"
        wait_for(lambda: held.stat().st_size > 0 or None, seconds=30)
        self.assertTrue(model.multipart([5 * MIB, 1000]), when)
        model.check(when)

    @staticmethod
    def deleted(model, key):
        try:
            model.delete(key)
            return True
        except ClientError as error:
            # In doubt or full for a moment: the same request again, as every client does it.
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status not in (503, 507):
                raise
            return None

    @staticmethod
    def refusal(model):
        try:
            model.s3.put_object(Bucket=BUCKET, Key="refused", Body=b"x" * 100_000)
        except ClientError as error:
            answer = error.response
            return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]
        return None

    def test_ext4_of_64_mib(self):
        self.run_on("ext4", 64, 6, 14)

    def test_xfs_of_512_mib(self):
        self.run_on("xfs", 512, 32, 60)

    def test_data_is_refused_below_the_watermark_with_its_figure(self):
        with disk("ext4", 64) as mount:
            data = mount / "data"
            data.mkdir()
            vault = Vault(data=data, extra=["--keep-free-mib", "20", "--reserve-mib", "4"])
            try:
                vault.start()
                model = Model(self, vault, 1)
                model.s3.create_bucket(Bucket=BUCKET)
                while model.put(1_500_000):
                    pass
                self.assertEqual(list(model.codes), [("InsufficientStorage", 507)])
                self.assertGreater(free_bytes(mount), 16 * MIB)
                with self.assertRaises(ClientError) as caught:
                    model.s3.put_object(Bucket=BUCKET, Key="x", Body=b"x")
                self.assertIn("MiB free", caught.exception.response["Error"]["Message"])
                model.delete(sorted(model.there)[0])
                model.check("below the watermark")
            finally:
                vault.stop()
                vault.log.close()


if __name__ == "__main__":
    unittest.main()
