"""Figures, and the tables made of them."""

import os
import pathlib
import platform
import re
import statistics
import subprocess

import load

MIB = 1 << 20
DOCUMENT = pathlib.Path(__file__).parents[2] / "docs" / "benchmarks.md"
PEERS = ["SeaweedFS", "Garage"]
COLUMNS = ["ReadVault", *PEERS, "nginx", "disk"]
P99 = ["range", "get_small", "put_small", "list"]
# Figures of which less is better.
LESS = {"memory", "restart"}


class Machine:
    """What ran, where, and beside what."""

    def __init__(self, directory):
        self.load = pathlib.Path("/proc/loadavg").read_text().split()[:3]
        self.kind = told("findmnt", "-no", "FSTYPE", "-T", str(directory))

    def lines(self):
        cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo")
                    if line.startswith("model name")), platform.machine())
        memory = int(next(line for line in open("/proc/meminfo") if line.startswith("MemTotal")).split()[1])
        # The report itself is a change of every run; the figures don't depend on it.
        changed = told("git", "status", "--porcelain", "--untracked-files=no", "--", ".",
                       ":!docs/benchmarks.md")
        return [
            f"- machine: {cpu}, {os.cpu_count()} processors, {memory / MIB:.0f} GiB; "
            f"Linux {platform.release()}; {self.kind}",
            f"- commit: {told('git', 'rev-parse', '--short=12', 'HEAD')}"
            + (" with local changes" if changed else ""),
            f"- load average when it began (1, 5, 15 minutes): {', '.join(self.load)}"
            + ("" if float(self.load[0]) < 0.5 else "; **the machine was not idle**"),
        ]


class Figures:
    """Every figure of every round, in the order of the rounds."""

    def __init__(self):
        self.values = {}

    def add(self, system, row, value):
        self.values.setdefault((system, row), []).append(value)

    def median(self, system, row):
        found = self.values.get((system, row))
        return statistics.median(found) if found else None

    def cell(self, system, row, unit=""):
        found = self.values.get((system, row))
        if not found:
            return "-"
        scale = MIB if "MiB" in unit else 1
        places = 2 if unit == "s" else 0
        return spread([value / scale for value in found], places)

    def better_peer(self, row):
        """The peer with the better median."""
        known = [peer for peer in PEERS if self.median(peer, row) is not None]
        pick = min if row in LESS else max
        return pick(known, key=lambda peer: self.median(peer, row)) if known else None

    def ratios(self, row, other):
        """ReadVault's figure by the other's, round by round."""
        pairs = zip(self.values.get(("ReadVault", row), []), self.values.get((other, row), []))
        return [mine / theirs for mine, theirs in pairs if theirs]

    def ratio(self, row, other):
        found = self.ratios(row, other)
        return spread(found, 2) if found else "-"


def spread(values, places):
    middle, low, high = (f"{f(values):,.{places}f}" for f in (statistics.median, min, max))
    return f"{middle} ({low}–{high})" if len(values) > 1 else middle


def rows(figures, arguments, sizes, about):
    """The report of the comparison. `about`: the machine and the versions."""
    machine, versions = about
    named = row_names(sizes, arguments.objects)
    beside = ", ".join(version for version in versions.values() if version)
    lines = machine.lines() + [
        f"- beside it: {beside}; client: plain sockets, wrk with 1 thread, `aws`, on the same machine",
        f"- rounds: {arguments.rounds}, {arguments.seconds} s for each run of wrk", ""]
    columns = COLUMNS + ["null store"] * (figures.median("null store", "put_1") is not None)
    lines += table(["figure", "unit", *columns, "÷ better peer", "÷ nginx"], [
        [name, unit, *(figures.cell(system, row, unit) for system in columns),
         against_better(figures, row), figures.ratio(row, "nginx")]
        for row, name, unit in named])
    lines += ["", "Median (least–most) of the rounds; of the time after a kill and of memory, less is better. "
              "The 99th percentile of the time of an answer, µs:", ""]
    lines += table(["figure", *COLUMNS[:4]], [
        [name, *(figures.cell(system, f"{row}_p99") for system in COLUMNS[:4])]
        for row, name, _ in named if row in P99])
    lines += ["", *targets(figures, named), "", *modes(named)]
    if load.Wrk.repeated:
        lines += ["", "Runs of wrk that were repeated: " + "; ".join(load.Wrk.repeated) + "."]
    return "\n".join(lines)


def against_better(figures, row):
    peer = figures.better_peer(row)
    return f"{figures.ratio(row, peer)} {peer}" if peer else "-"


def row_names(sizes, objects):
    """The row's key, its name, its unit."""
    large, stream, parts, upload = (size // MIB for size in (
        sizes.large, sizes.stream, sizes.parts, sizes.upload))
    return [
        ("put_1", f"PUT {large} MiB, 1 stream", "MiB/s"),
        ("put_4", f"PUT {stream} MiB, 4 streams", "MiB/s"),
        ("put_parts", f"`aws s3 cp` of {parts} MiB, parts of 8 MiB", "MiB/s"),
        ("get_1", f"GET {large} MiB, 1 stream", "MiB/s"),
        ("get_4", f"GET {stream} MiB, 4 streams", "MiB/s"),
        ("range", "GET 64 KiB random ranges, 16 connections", "per s"),
        ("get_small", "GET 4 KiB objects, 16 connections", "per s"),
        ("put_small", "PUT 4 KiB objects, 16 connections", "per s"),
        ("list", f"LIST of {objects:,} keys, pages of 1,000, 16 connections", "keys/s"),
        ("restart", f"kill -9 to the first right GET, {objects:,} objects", "s"),
        ("memory", f"peak memory in 64 concurrent PUTs of {upload} MiB, all processes", "MiB"),
    ]


# The row, what ReadVault's figure is compared with, and the least ratio (for memory: the most MiB).
TARGETS = [
    ("put_1", "peer", 2), ("put_1", "floor", 0.75), ("put_4", "peer", 2), ("put_4", "floor", 0.75),
    ("get_1", "peer", 1.5), ("get_1", "nginx", 1), ("get_4", "peer", 1.5), ("get_4", "nginx", 1),
    ("range", "peer", 6), ("range", "nginx", 0.55), ("get_small", "peer", 4),
    ("put_small", "peer", 1.5), ("put_small", "sync", 0.7), ("list", "peer", 3), ("memory", "most", 256),
]


def targets(figures, named):
    """Each target, and whether it was met."""
    names = {row: name for row, name, _ in named}
    found = []
    for row, other, wanted in TARGETS:
        what, measured = compared(figures, row, other)
        if measured is None:
            continue
        met = measured <= wanted if other == "most" else measured >= wanted
        text = f"{measured:,.0f}" if other == "most" else f"{measured:.2f}"
        sign = "≤" if other == "most" else "≥"
        found.append([f"{names[row]}{what}", f"{sign} {wanted}", text, "met" if met else "**missed**"])
    lines = table(["target", "wanted", "measured", ""], found)
    sync = figures.median("disk", "sync_us")
    if sync:
        lines += ["", f"One `fdatasync` after an append of 4 KiB: {sync:,.0f} µs. The sync bound of 16 "
                  "connections is 16 ÷ (two syncs: of the pack and of the catalog's log)."]
    return lines


def compared(figures, row, other):
    """What a target compares with, in words, and the figure that it judges."""
    if other == "most":
        value = figures.median("ReadVault", row)
        return ", MiB", value and value / MIB
    if other == "sync":
        rate, sync = figures.median("ReadVault", row), figures.median("disk", "sync_us")
        return " ÷ sync bound", rate / (16 / (2 * sync / 1e6)) if rate and sync else None
    if other == "peer":
        other = figures.better_peer(row)
    elif other == "floor":
        known = [name for name in ("disk", "null store") if figures.median(name, row)]
        other = min(known, key=lambda name: figures.median(name, row)) if known else None
    ratios = figures.ratios(row, other) if other else []
    return f" ÷ {other}", statistics.median(ratios) if ratios else None


def modes(named):
    """How the requests of each row are signed, and which ETag each system makes."""
    signed, presigned = "headers, `UNSIGNED-PAYLOAD`", "presigned, payload unsigned"
    how = {
        "put_1": (signed, "opaque", "MD5", "MD5"), "put_4": (signed, "opaque", "MD5", "MD5"),
        "put_parts": ("headers, SHA-256 of each part signed", "opaque-N", "MD5-N", "MD5-N"),
        "get_1": (signed, "-", "-", "-"), "get_4": (signed, "-", "-", "-"),
        "range": (presigned, "-", "-", "-"), "get_small": (presigned, "-", "-", "-"),
        "put_small": (presigned, "MD5", "MD5", "MD5"), "list": (presigned, "-", "-", "-"),
        "restart": (signed, "-", "-", "-"), "memory": (signed, "opaque", "MD5", "MD5"),
    }
    lines = table(["figure", "signature", "ETag: ReadVault", "SeaweedFS", "Garage"],
                  [[name, *how[row]] for row, name, _ in named])
    return lines + ["", *table(["system", "encryption", "content addressed", "sync before the answer"], [
        ["ReadVault", "AES-256-GCM", "yes", "yes, by group commit"],
        ["SeaweedFS", "none", "no", "no (its default)"],
        ["Garage", "none", "yes, BLAKE2 of each 1 MiB", "no (its default)"],
        ["nginx", "none", "no", "writes nothing"]])]


def table(head, lines):
    return ["| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *lines]]


def told(*command):
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def write(section, text):
    """Puts `text` into its section of the document."""
    begin, end = f"<!-- {section}: written by scripts/bench -->", f"<!-- end of {section} -->"
    old = DOCUMENT.read_text()
    new = re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: f"{begin}\n{text}\n{end}", old,
                 flags=re.DOTALL)
    DOCUMENT.write_text(new)
