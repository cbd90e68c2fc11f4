"""Plants the faults of table.toml in a copy of the tree and runs the tests that must notice them."""

import os
import pathlib
import shutil
import subprocess
import sys
import time
import tomllib

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
# A test that does not end has noticed something, too.
PATIENCE_SECONDS = 900
# The first build of all has RocksDB in it.
BUILD_SECONDS = 7200
CARGO = ["cargo", "test", "--release", "--ignore-rust-version"]
STORE = [*CARGO, "--locked", "-p", "readvault-store"]
SUITES = {
    "unit": [*STORE, "--lib"],
    "model": [*STORE, "--lib", "conformance"],
    "at_rest": [*STORE, "--test", "at_rest"],
    "schedules": [*CARGO, "--manifest-path", "tests/shuttle/Cargo.toml"],
    "catalog": [*CARGO, "--locked", "--workspace", "--test", "catalog"],
    "kth_io": [*CARGO, "--locked", "--workspace", "--test", "kth_io"],
    "power_loss": [*CARGO, "--locked", "--workspace", "--test", "power_loss"],
    "bit_rot": [*CARGO, "--locked", "--workspace", "--test", "bit_rot"],
}


class Copy:
    """A copy of the tree, with a build directory that stays from one run to the next."""

    def __init__(self, place: pathlib.Path):
        self.tree = place / "tree"
        self.environment = os.environ | {
            "CARGO_TARGET_DIR": str(place / "target"),
            "CARGO_PROFILE_RELEASE_INCREMENTAL": "true",
            "READVAULT_SEED": os.environ.get("READVAULT_SEED", "1"),
            # More than in an ordinary run: a fault there needs a few steps in just one order.
            "READVAULT_SCHEDULES": os.environ.get("READVAULT_SCHEDULES", "2000"),
        }
        self.environment.pop("READVAULT_LONG", None)

    def refresh(self):
        """Brings the tree's files over; those that are the same keep their times, so builds stay short."""
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout
        names = {name for name in names.decode().split("\0") if name and (ROOT / name).is_file()}
        for old in self.tree.rglob("*"):
            if old.is_file() and str(old.relative_to(self.tree)) not in names:
                old.unlink()
        for name in names:
            source, target = ROOT / name, self.tree / name
            if target.is_file() and target.read_bytes() == source.read_bytes():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)

    def run(self, command: list[str], seconds: int) -> int | None:
        """The exit code of a command; none when it does not end."""
        process = subprocess.Popen(
            command,
            cwd=self.tree,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            return None

    def builds(self, suite: str) -> bool:
        return self.run([*SUITES[suite], "--no-run"], BUILD_SECONDS) == 0

    def fails(self, suite: str) -> str | None:
        """How a suite fails, if it does."""
        code = self.run(SUITES[suite], PATIENCE_SECONDS)
        return None if code == 0 else suite if code is not None else f"{suite}, which did not end"


def misplaced(mutants: list[dict]) -> list[str]:
    """A line for each fault whose place is not found once."""
    found = [(mutant, (ROOT / mutant["file"]).read_text().count(mutant["old"])) for mutant in mutants]
    return [f"{mutant['name']}: its place is found {count} times in {mutant['file']}"
            for mutant, count in found if count != 1]


def plant(copy: Copy, mutant: dict) -> tuple[pathlib.Path, str]:
    """Puts the fault in; gives the file and what it was."""
    path = copy.tree / mutant["file"]
    text = path.read_text()
    path.write_text(text.replace(mutant["old"], mutant["new"]))
    return path, text


def caught_by(copy: Copy, mutant: dict) -> str | None:
    """The first suite that notices the fault, and how."""
    path, text = plant(copy, mutant)
    try:
        for suite in mutant["suites"]:
            if not copy.builds(suite):
                sys.exit(f"mutant {mutant['name']} does not build for {suite}")
            if how := copy.fails(suite):
                return how
        return None
    finally:
        path.write_text(text)


def main():
    place, wanted = pathlib.Path(sys.argv[1]), sys.argv[2:]
    mutants = tomllib.loads((HERE / "table.toml").read_text())["mutant"]
    if wrong := misplaced(mutants):
        sys.exit("\n".join(wrong))
    if wanted == ["--check"]:
        return
    names = [mutant["name"] for mutant in mutants]
    unknown = set(wanted) - set(names)
    if unknown or len(set(names)) != len(names):
        sys.exit(f"unknown or twice: {sorted(unknown) or names}")
    mutants = [mutant for mutant in mutants if not wanted or mutant["name"] in wanted]
    copy = Copy(place)
    copy.refresh()
    for suite in sorted({suite for mutant in mutants for suite in mutant["suites"]}):
        if not copy.builds(suite) or copy.fails(suite):
            sys.exit(f"{suite} fails without any fault planted")
    survived = []
    for mutant in mutants:
        begun = time.monotonic()
        suite = caught_by(copy, mutant)
        seconds = time.monotonic() - begun
        told = f"caught by {suite}" if suite else f"SURVIVED {', '.join(mutant['suites'])}"
        print(f"{mutant['name']}: {told} ({seconds:.0f} s)", flush=True)
        if not suite:
            survived.append(mutant["name"])
    caught = len(mutants) - len(survived)
    print(f"mutants: {caught} of {len(mutants)} caught; survived: {', '.join(survived) or 'none'}")
    sys.exit(1 if survived else 0)


main()
