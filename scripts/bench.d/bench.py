"""Runs the benchmark: every system in turn, in each round in another order, on one disk by one client."""

import argparse
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

import bodies
import report
import scale
from filled import Filled
from peers import Garage, SeaweedFs
from systems import Nginx, NullStore, ReadVault

SYSTEMS = {"readvault": ReadVault, "seaweedfs": SeaweedFs, "garage": Garage, "nginx": Nginx}
WARM_BYTES = 6 << 30


def main():
    arguments = parse()
    # An orderly end, so that no server is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    directory = pathlib.Path(tempfile.mkdtemp(prefix="readvault-bench-", dir=arguments.dir))
    directory.chmod(0o755)
    begun = report.Machine(directory)
    try:
        if arguments.scale:
            section, text = "scale", scale.run(arguments.scale, directory, begun, arguments.requests)
        else:
            section, text = "rows", compare(arguments, directory, begun)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(text)
    if not arguments.no_write:
        report.write(section, text)


def parse():
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("--rounds", type=int, help="3 unless told otherwise")
    parser.add_argument("--seconds", type=int, help="of each run of wrk: 5 unless told otherwise")
    parser.add_argument("--quick", action="store_true",
                        help="one short round over small bodies; docs/benchmarks.md stays as it is")
    parser.add_argument("--dir", default=os.environ.get("READVAULT_BENCH_DIR", "/var/tmp"),
                        help="where the data directories are made; not tmpfs")
    parser.add_argument("--only", default=",".join(SYSTEMS), help="systems, by name")
    parser.add_argument("--no-write", action="store_true", help="print the tables only")
    parser.add_argument("--scale", type=lambda text: [int(size) for size in text.split(",")],
                        help="numbers of read sets: measures ReadVault alone, over catalogs of these sizes")
    parser.add_argument("--requests", type=int, default=1000, help="of each kind, with --scale")
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 3)
    arguments.seconds = arguments.seconds or (2 if arguments.quick else 5)
    arguments.objects = 10_000 if arguments.quick else 100_000
    arguments.no_write |= arguments.quick
    return arguments


def compare(arguments, directory, machine):
    kinds = [SYSTEMS[name] for name in arguments.only.split(",")]
    figures, sizes = report.Figures(), bodies.Sizes(arguments.quick)
    say("random bodies")
    if not arguments.quick:
        warm_memory(directory)
    inputs = bodies.Bodies(directory, sizes)
    turns = [*kinds, bodies.Disk] + ([NullStore] if ReadVault in kinds and NullStore.exists() else [])
    versions = {}
    for number in range(arguments.rounds):
        for kind in turned(turns, number):
            subprocess.run(["sync"], check=True)
            say(f"round {number + 1}: {kind.name}")
            if kind is bodies.Disk:
                kind(directory).measure(sizes, figures)
                continue
            system = kind(directory)
            versions[kind.name] = system.version()
            turn = bodies.Turn(number, system, inputs, figures, arguments.seconds)
            turn.measure_writes_only() if kind is NullStore else turn.measure()
    for path in (*inputs.digests, inputs.uploads):
        path.unlink()
    lists(arguments, [kind for kind in kinds if kind.writes], directory, figures)
    return report.rows(figures, arguments, sizes, (machine, versions))


def lists(arguments, kinds, directory, figures):
    """The rows about many objects."""
    systems = [kind(directory) for kind in kinds]
    filled = [Filled(system, arguments.objects, directory, arguments.seconds) for system in systems]
    try:
        for one in filled:
            say(f"{arguments.objects} objects: {one.system.name}")
            one.fill()
        for number in range(arguments.rounds):
            for one in turned(filled, number):
                subprocess.run(["sync"], check=True)
                say(f"round {number + 1} over {arguments.objects} objects: {one.system.name}")
                one.measure(figures)
    finally:
        for system in systems:
            system.remove()


def turned(all_, number):
    turn = number % len(all_)
    return all_[turn:] + all_[:turn]


def warm_memory(directory):
    """Touches as much memory as the run will use for cached files: on a virtual machine the first use of
    a page may wait for the host, and whoever ran first would pay for it."""
    bodies.Bodies.file(directory / "warm", WARM_BYTES).unlink()


def say(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
