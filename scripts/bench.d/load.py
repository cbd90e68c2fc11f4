"""Clients that are programs of their own: wrk for many small requests, `aws` for an upload in parts."""

import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
CONNECTIONS = 16
SMALL_BYTES = 4096
RANGE_BYTES = 65536
ATTEMPTS = 3


class Wrk:
    """Runs wrk with one thread and the connections of the benchmark."""

    # Every run that was repeated because a connection broke: the report names them.
    repeated = []

    def __init__(self, directory, seconds, filler):
        self.dir, self.seconds, self.filler = pathlib.Path(directory), seconds, filler

    def run(self, system, kind, targets, number=0, seed=0, seconds=None):
        """The requests answered in a second, how many were sent, and how long they took."""
        listed = self.dir / f"targets-{system.name}"
        listed.write_text("\n".join(targets) + "\n")
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds or self.seconds}s", "--timeout", "30s", "-s",
                   str(HERE / "requests.lua"), f"http://{system.host}", "--", str(listed), kind,
                   str(number), str(seed), str(self.filler)]
        for _ in range(ATTEMPTS):
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            found = [line.split()[1:] for line in output.splitlines() if line.startswith("RESULT ")]
            requests, micros, refused, broken, p50, p99 = map(int, found[0])
            if refused:
                raise RuntimeError(f"{system.name}: {kind}: {refused} of {requests} were refused\n{output}")
            if not broken:
                return {"rate": requests / micros * 1e6, "requests": requests, "p50_us": p50, "p99_us": p99}
            what = f"{system.name}: {kind}: {broken} connections broke in {requests} requests"
            print(f"{what}\n{system.complaints()}", file=sys.stderr, flush=True)
            self.repeated.append(what)
        raise RuntimeError(f"{what}, {ATTEMPTS} times in a row")


def aws_copy(system, key, file):
    """Seconds in which `aws s3 cp` sends `file`, its own start included."""
    access, secret = system.keys()
    config = system.dir / "aws.config"
    config.write_text("[default]\nregion = us-east-1\ns3 =\n  addressing_style = path\n")
    # No checksum beside the signed payload, so that all servers get the same requests.
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(system.dir), "AWS_CONFIG_FILE": str(config),
        "AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
    }
    command = [str(pathlib.Path(sys.executable).with_name("aws")), "--endpoint-url", f"http://{system.host}",
               "s3", "cp", "--only-show-errors", str(file), f"s3:/{system.path(key)}"]
    begun = time.monotonic()
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    if result.returncode != 0:
        raise RuntimeError(f"{system.name}: aws s3 cp: {result.stderr}")
    return time.monotonic() - begun
