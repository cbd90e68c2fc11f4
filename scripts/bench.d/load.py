"""The client's side: curl for large bodies, wrk for many small requests."""

import pathlib
import subprocess

HERE = pathlib.Path(__file__).parent
CONNECTIONS = 16
SMALL_BYTES = 4096
RANGE_BYTES = 65536


def curl(system, method, key, *options):
    """Seconds of one transfer by curl, as it tells them."""
    command = ["curl", "--silent", "--show-error", "--fail", "--globoff", "--write-out", "%{time_total}",
               "--header", "Expect:"]
    for name, value in system.headers(method, key).items():
        command += ["--header", f"{name}: {value}"]
    path = system.path(key) if system.writes else system.target(method, key)
    result = subprocess.run([*command, *options, f"http://{system.host}{path}"],
                            capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError(f"{system.name}: {method} {key}: {result.stderr}")
    return float(result.stdout)


def put_large(system, key, file):
    return curl(system, "PUT", key, "--upload-file", str(file), "--output", "/dev/null")


def get_large(system, key):
    return curl(system, "GET", key, "--output", "/dev/null")


def fetch(system, key, output, span=None):
    options = ["--output", str(output)]
    if span:
        options += ["--range", f"{span[0]}-{span[1]}"]
    curl(system, "GET", key, *options)


class Wrk:
    """Runs wrk with one thread and the connections of the benchmark."""

    def __init__(self, directory, seconds, filler):
        self.dir, self.seconds, self.filler = pathlib.Path(directory), seconds, filler

    def run(self, system, kind, targets, number, seed, seconds=None):
        """The requests answered in a second, and how many were sent."""
        listed = self.dir / f"targets-{system.name}"
        listed.write_text("\n".join(targets) + "\n")
        seconds = seconds or self.seconds
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "30s", "-s",
                   str(HERE / "requests.lua"), f"http://{system.host}", "--", str(listed), kind,
                   str(number), str(seed), str(self.filler)]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = [line.split()[1:] for line in output.splitlines() if line.startswith("RESULT ")]
        requests, size, micros, errors, p50, p99 = map(int, found[0])
        if errors:
            raise RuntimeError(f"{system.name}: {kind}: {errors} of {requests} requests failed\n{output}")
        return {"rate": requests / micros * 1e6, "requests": requests, "bytes": size,
                "p50_us": p50, "p99_us": p99}
