"""Memory of the server under load. Started by scripts/memory."""

import argparse
import concurrent.futures
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "tests" / "system")]

import load  # noqa: E402
from vault import BIN, Vault  # noqa: E402

MIB = 1 << 20
TARGET_MIB = 256
BUCKET = "memory"


def kib(pid, field):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    return 0


class Server:
    """A vault, the process that serves it, and what that holds."""

    def __init__(self, directory, null):
        self.data = pathlib.Path(tempfile.mkdtemp(prefix="rv-memory-", dir=directory))
        self.data.chmod(0o755)
        extra = ["--chunk-store", "null"] if null else []
        self.vault = Vault(data=self.data / "data", extra=extra).start()
        self.port = self.vault.port
        self.pid = self.serving(self.vault.process.pid)
        self.s3 = self.vault.client("s3", signature_version="s3v4")
        self.s3.create_bucket(Bucket=BUCKET)

    @staticmethod
    def serving(pid):
        """The process with the keys: under --dev as root, a child of the launcher."""
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for child in children:
            if b"--launched" in pathlib.Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
        return pid

    def target(self, method, **parameters):
        url = self.s3.generate_presigned_url(
            method, Params={"Bucket": BUCKET, **parameters}, ExpiresIn=86400)
        return url.split(f":{self.port}", 1)[1]

    def metric(self, prefix):
        with urllib.request.urlopen(f"{self.vault.url}/_rv/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        found = {}
        for line in lines:
            if line.startswith(prefix + "{"):
                name = line.split('"')[1]
                found[name] = float(line.rsplit(" ", 1)[1])
        return found

    def reset_peak(self):
        try:
            pathlib.Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        except OSError:
            pass

    def close(self):
        self.vault.close()
        shutil.rmtree(self.data, ignore_errors=True)


class Watch(threading.Thread):
    """Samples the resident set while a part runs."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.samples, self.ended = server, [], threading.Event()
        self.catalog = {}

    def run(self):
        began = time.monotonic()
        while not self.ended.wait(0.25):
            self.samples.append((time.monotonic() - began, kib(self.server.pid, "VmRSS") / 1024))
            if len(self.samples) % 8 == 0:
                for part, size in self.server.metric("readvault_catalog_memory_bytes").items():
                    self.catalog[part] = max(self.catalog.get(part, 0), size)

    def slope(self):
        """MiB an hour by least squares, over the later three quarters."""
        points = self.samples[len(self.samples) // 4:]
        if len(points) < 8:
            return 0.0
        mean_x = sum(x for x, _ in points) / len(points)
        mean_y = sum(y for _, y in points) / len(points)
        above = sum((x - mean_x) * (y - mean_y) for x, y in points)
        below = sum((x - mean_x) ** 2 for x, _ in points)
        return above / below * 3600 if below else 0.0


def measure(server, name, work):
    before = kib(server.pid, "VmRSS") / 1024
    server.reset_peak()
    watch = Watch(server)
    watch.start()
    began = time.monotonic()
    moved = work()
    took = time.monotonic() - began
    watch.ended.set()
    watch.join()
    peak = kib(server.pid, "VmHWM") / 1024
    time.sleep(3)
    after = kib(server.pid, "VmRSS") / 1024
    catalog = ", ".join(f"{part} {size / MIB:.1f}" for part, size in sorted(watch.catalog.items()))
    verdict = "within" if peak <= TARGET_MIB else "ABOVE"
    print(f"{name}: {moved / MIB:.0f} MiB in {took:.1f} s ({moved / MIB / took:.0f} MiB/s)\n"
          f"  resident MiB: before {before:.0f}, peak {peak:.0f} ({verdict} {TARGET_MIB}), "
          f"3 s after {after:.0f}, slope {watch.slope():+.1f} MiB/h\n"
          f"  RocksDB's share, most MiB: {catalog}", flush=True)
    step = max(1, len(watch.samples) // 10)
    shown = " ".join(f"{at:.0f}s:{size:.0f}" for at, size in watch.samples[::step])
    print(f"  over time: {shown}", flush=True)
    return peak


def at_once(streams, call):
    with concurrent.futures.ThreadPoolExecutor(streams) as pool:
        return sum(pool.map(call, range(streams)))


def uploads(server, streams, size):
    def one(stream):
        load.put(server.port, server.target("put_object", Key=f"u{stream}"), size, stream)
        return size
    return lambda: at_once(streams, one)


def downloads(server, streams):
    def one(stream):
        return load.get(server.port, server.target("get_object", Key=f"u{stream}"))
    return lambda: at_once(streams, one)


def one_large(server, size, part_size):
    """One upload in parts, ended by an abort: what a store that keeps nothing holds can't be put together."""
    def work():
        upload = server.s3.create_multipart_upload(Bucket=BUCKET, Key="large")["UploadId"]
        name, number, sent = {"Key": "large", "UploadId": upload}, 0, 0
        while sent < size:
            length, number = min(part_size, size - sent), number + 1
            target = server.target("upload_part", PartNumber=number, **name)
            load.put(server.port, target, length, number)
            sent += length
        server.s3.abort_multipart_upload(Bucket=BUCKET, **name)
        return size
    return work


def mixed(server, hours):
    """Writes, reads, lists and deletes of all sizes, and a garbage collection a minute: keys repeat, so that
    the vault stays bounded."""
    stop = time.monotonic() + hours * 3600

    def collect():
        gc = [BIN / "readvaultd", "gc", "--data", server.vault.data, "--dead-percent", "20"]
        while time.monotonic() < stop:
            time.sleep(min(60, max(0, stop - time.monotonic())))
            subprocess.run(gc, check=True, capture_output=True)

    def one(worker):
        chance, moved, s3 = random.Random(worker), 0, server.vault.client("s3")
        while time.monotonic() < stop:
            key = f"m{worker}-{chance.randrange(20)}"
            size = chance.choice([1000, 60_000, 300_000, 4 * MIB])
            choice = chance.random()
            try:
                if choice < 0.3:
                    load.put(server.port, server.target("put_object", Key=key), size, worker)
                    moved += size
                elif choice < 0.8:
                    moved += load.get(server.port, server.target("get_object", Key=key))
                elif choice < 0.9:
                    s3.list_objects_v2(Bucket=BUCKET, MaxKeys=100)
                else:
                    s3.delete_object(Bucket=BUCKET, Key=key)
            except RuntimeError as error:
                if "404" not in str(error):
                    raise
            # Data that is replaced takes room until it is collected twice: the load is kept below a disk's.
            time.sleep(0.15)
        return moved

    def work():
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            collected = pool.submit(collect)
            moved = at_once(16, one)
            collected.result()
        return moved
    return work


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="null,disk,downloads,large")
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--scale", type=float, default=1.0, help="of the sizes of all bodies")
    parser.add_argument("--hours", type=float, default=0.0, help="of a mixed load, and nothing else")
    parser.add_argument("--dir", default=None, help="where the vaults lie")
    given = parser.parse_args()
    parts = {"mixed"} if given.hours else set(given.only.split(","))
    size = lambda mib: int(mib * MIB * given.scale)  # noqa: E731
    peaks = {}

    def with_server(null, names, run):
        if not parts & names:
            return
        server = Server(given.dir, null)
        try:
            run(server)
        finally:
            server.close()

    def on_null(server):
        if "null" in parts:
            peaks["null"] = measure(server, f"{given.streams} uploads at once, null store",
                                    uploads(server, given.streams, size(1024)))
        if "large" in parts:
            peaks["large"] = measure(server, "one upload in parts, null store",
                                     one_large(server, size(16 * 1024), max(size(1024), 5 * MIB)))

    def on_disk(server):
        peaks["disk"] = measure(server, f"{given.streams} uploads at once, on disk",
                                uploads(server, given.streams, size(256)))
        if "downloads" in parts:
            peaks["downloads"] = measure(server, f"{given.streams} downloads at once",
                                         downloads(server, given.streams))

    def on_mixed(server):
        peaks["mixed"] = measure(server, f"mixed load, {given.hours} h", mixed(server, given.hours))

    with_server(True, {"null", "large"}, on_null)
    with_server(False, {"disk", "downloads"}, on_disk)
    with_server(False, {"mixed"}, on_mixed)
    above = [name for name, peak in peaks.items() if peak > TARGET_MIB]
    print(f"above {TARGET_MIB} MiB: {', '.join(above) or 'none'}")
    return 1 if above else 0


if __name__ == "__main__":
    sys.exit(main())
