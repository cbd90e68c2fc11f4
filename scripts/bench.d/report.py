"""Figures, and the tables made of them."""

import platform
import statistics
import subprocess

MIB = 1 << 20

# The row's key, its name, how a figure is written, and how ReadVault's figure is to compare with
# SeaweedFS's and nginx's; memory is better when smaller.
ROWS = [
    ("put_large", "PUT 512 MiB, 1 stream", "MiB/s"),
    ("get_large", "GET 512 MiB, 1 stream", "MiB/s"),
    ("range", "GET 64 KiB random ranges, 16 connections", "per s"),
    ("get_small", "GET 4 KiB objects, 16 connections", "per s"),
    ("put_small", "PUT 4 KiB objects, 16 connections", "per s"),
    ("memory", "peak memory, all processes", "MiB"),
]
TARGETS = {
    "put_large": {"seaweedfs": 2, "disk": 0.75},
    "get_large": {"seaweedfs": 1.5, "nginx": 1},
    "range": {"seaweedfs": 6, "nginx": 0.55},
    "get_small": {"seaweedfs": 4},
    "put_small": {"seaweedfs": 1.5, "sync bound": 0.7},
}
MODES = [
    ("ReadVault", "headers, `UNSIGNED-PAYLOAD`; wrk: presigned", "default (512 MiB: not MD5; 4 KiB: MD5)",
     "AES-256-GCM", "before the answer, by group commit"),
    ("SeaweedFS", "headers, `UNSIGNED-PAYLOAD`; wrk: presigned", "MD5", "none", "none (its default)"),
    ("nginx", "none", "of time and length", "none", "-"),
]


class Figures:
    """Every figure of every round."""

    def __init__(self):
        self.values = {}

    def add(self, system, row, value):
        self.values.setdefault((system, row), []).append(value)

    def median(self, system, row):
        found = self.values.get((system, row))
        return statistics.median(found) if found else None

    def cell(self, system, row, unit):
        found = self.values.get((system, row))
        if not found:
            return "-"
        scale = MIB if "MiB" in unit else 1
        middle, low, high = (f(found) / scale for f in (statistics.median, min, max))
        return f"{middle:,.0f} ({low:,.0f}–{high:,.0f})"


def text(figures, arguments, directory):
    lines = [*machine(arguments, directory), ""]
    lines += ["| figure | unit | ReadVault | SeaweedFS | nginx | disk | ÷ SeaweedFS | ÷ nginx |",
              "|---|---|---|---|---|---|---|---|"]
    for row, name, unit in ROWS:
        cells = [figures.cell(system, row, unit) for system in ("readvault", "seaweedfs", "nginx", "disk")]
        ratios = [ratio(figures, row, other) for other in ("seaweedfs", "nginx")]
        lines.append(f"| {name} | {unit} | " + " | ".join(cells + ratios) + " |")
    lines += ["", "Median (least–most). 99th percentile of the time of an answer, µs:", ""]
    lines += ["| figure | ReadVault | SeaweedFS | nginx |", "|---|---|---|---|"]
    for row, name, _ in ROWS[2:5]:
        cells = [figures.cell(system, f"{row}_p99", "") for system in ("readvault", "seaweedfs", "nginx")]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", *targets(figures), ""]
    lines += ["| system | signature | ETag | encryption | sync |", "|---|---|---|---|---|"]
    lines += ["| " + " | ".join(mode) + " |" for mode in MODES]
    return "\n".join(lines)


def machine(arguments, directory):
    def run(*command):
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo")
                if line.startswith("model name")), platform.machine())
    memory = int(next(line for line in open("/proc/meminfo") if line.startswith("MemTotal")).split()[1])
    commit = run("git", "rev-parse", "--short=12", "HEAD")
    changed = " with local changes" if run("git", "status", "--porcelain", "--untracked-files=no") else ""
    kind = run("findmnt", "-no", "FSTYPE", "-T", str(directory))
    return [
        f"- machine: {cpu}, {run('nproc')} processors, {memory / MIB:.0f} GiB; "
        f"Linux {platform.release()}; {kind}",
        f"- commit: {commit}{changed}",
        f"- beside it: SeaweedFS {run('weed', 'version').split()[2]}, "
        f"nginx {nginx_version()}; client: curl, wrk with 1 thread, on the same machine",
        f"- rounds: {arguments.rounds}, {arguments.seconds} s for each run of wrk; "
        f"load when it ended: {open('/proc/loadavg').read().split()[0]}",
    ]


def nginx_version():
    told = subprocess.run(["/usr/sbin/nginx", "-v"], capture_output=True, text=True).stderr
    return told.strip().rpartition("/")[2]


def targets(figures):
    """Each target, and whether it was met."""
    lines = ["| target | wanted | measured | |", "|---|---|---|---|"]
    for row, name, _ in ROWS:
        for other, wanted in TARGETS.get(row, {}).items():
            if other == "sync bound":
                got = sync_ratio(figures)
            else:
                got = quotient(figures, row, other)
            if got is not None:
                verdict = "met" if got >= wanted else "missed"
                lines.append(f"| {name} ÷ {other} | ≥ {wanted} | {got:.2f} | {verdict} |")
    sync = figures.median("disk", "sync_us")
    lines += ["", f"One `fdatasync` after an append of 4 KiB: {sync:,.0f} µs. "
              "The sync bound of 16 connections is 16 ÷ (two syncs, of the pack and of the catalog's log)."]
    return lines


def sync_ratio(figures):
    rate, sync = figures.median("readvault", "put_small"), figures.median("disk", "sync_us")
    return rate / (16 / (2 * sync / 1e6)) if rate and sync else None


def quotient(figures, row, other):
    mine, theirs = figures.median("readvault", row), figures.median(other, row)
    return mine / theirs if mine and theirs else None


def ratio(figures, row, other):
    found = quotient(figures, row, other)
    return "-" if found is None else f"{found:.2f}"
