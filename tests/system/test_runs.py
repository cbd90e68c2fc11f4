"""Runs end to end: the real miniwdl in the real sandbox, on inputs of a real vault. Root only."""

import hashlib
import io
import json
import os
import pathlib
import random
import subprocess
import textwrap
import time
import unittest
import zipfile

from botocore.exceptions import BotoCoreError, ClientError

from vault import BIN, CORPUS, LONG, Vault, wait_for

IMAGES = pathlib.Path(os.environ.get("READVAULT_TEST_IMAGES", "/nonexistent"))

HEAD = """
version 1.1
task t {
    input { %(inputs)s }
    command <<<
%(command)s
    >>>
    output { File out = stdout() %(outputs)s }
    runtime { container: "%(image)s" cpu: 1 memory: "256 MiB" %(runtime)s }
}
workflow w {
    input { %(inputs)s }
    call t { input: %(names)s }
    output { File out = t.out %(results)s }
}
"""


def wdl(command, inputs="String word", names="word = word", image="tools:1", **more):
    fields = {"outputs": "", "runtime": "", "results": "", **more}
    return HEAD % {"command": command, "inputs": inputs, "names": names, "image": image, **fields}


@unittest.skipUnless(os.geteuid() == 0, "runs need root")
@unittest.skipUnless((IMAGES / "tools").is_dir(), "READVAULT_TEST_IMAGES names no images")
class Runs(unittest.TestCase):
    settings = []

    @classmethod
    def setUpClass(cls):
        resources = ["--run-memory-mib", "1024", "--run-scratch-mib", "512"]
        cls.vault = Vault(extra=[*resources, *cls.settings]).start()
        data = str(cls.vault.data)
        tools, engine = str(IMAGES / "tools"), str(IMAGES / "engine-wdl")
        cls.admin("image", "import", tools, "--name", "tools:1", "--data", data)
        cls.admin("engine", "add", "wdl", engine, "--data", data)
        cls.omics = cls.vault.client("omics")
        cls.s3 = cls.vault.client("s3")
        cls.logs = cls.vault.client("logs")
        cls.s3.create_bucket(Bucket="results")
        cls.s3.put_object(Bucket="results", Key="in/hello.txt", Body=b"hello\n")

    @classmethod
    def tearDownClass(cls):
        cls.vault.close()

    @staticmethod
    def admin(*arguments):
        result = subprocess.run(
            [str(BIN / "readvaultd"), *arguments], capture_output=True, text=True, timeout=300
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    def workflow(self, text):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("main.wdl", text)
        made = self.omics.create_workflow(
            name="w", definitionZip=packed.getvalue(), engine="WDL"
        )
        self.omics.get_waiter("workflow_active").wait(id=made["id"])
        return made["id"]

    def start(self, text, parameters=None):
        return self.omics.start_run(
            workflowId=self.workflow(text), roleArn=self.vault.env["READVAULT_RUN_ROLE"],
            outputUri="s3://results/out", parameters=parameters or {"word": "x"},
        )["id"]

    def ended(self, run, seconds=120):
        def look():
            state = self.omics.get_run(id=run)
            return state if state["status"] in ("COMPLETED", "FAILED", "CANCELLED") else None

        return wait_for(look, seconds)

    def running_task(self, run):
        def look():
            tasks = self.omics.list_run_tasks(id=run)["items"]
            return next((t for t in tasks if t["status"] == "RUNNING"), None)

        return wait_for(look, 60)

    def output(self, run, name="out/out/stdout.txt"):
        return self.s3.get_object(Bucket="results", Key=f"out/{run}/{name}")["Body"].read()

    def keys(self, run):
        listed = self.s3.list_objects_v2(Bucket="results", Prefix=f"out/{run}/")
        return [item["Key"] for item in listed.get("Contents", [])]

    def nothing_left(self):
        def look():
            found = subprocess.run([str(BIN / "readvault-exec"), "leftovers"],
                                   capture_output=True, text=True)
            self.left = found.stdout
            return True if found.returncode == 0 else None

        try:
            wait_for(look, 40, 0.5)
        except AssertionError:
            self.fail(f"left behind:\n{self.left}")

    def test_inputs_outputs_logs_and_record(self):
        command = "cat ~{file}; echo ~{word}; echo to-the-log >&2"
        text = wdl(command, inputs="String word\n File file", names="word = word, file = file")
        run = self.start(text, {"word": "world", "file": "s3://results/in/hello.txt"})
        state = self.ended(run)
        self.assertEqual(state["status"], "COMPLETED", state.get("statusMessage"))
        self.assertEqual(self.output(run), b"hello\nworld\n")
        outputs = json.loads(self.output(run, "logs/outputs.json"))
        self.assertEqual(outputs["w.out"], f"s3://results/out/{run}/out/out/stdout.txt")
        self.assertIn("s3://results/in/hello.txt", state["resourceDigests"])
        self.assertIn("tools:1", state["resourceDigests"])
        task = self.omics.list_run_tasks(id=run)["items"][0]
        self.assertEqual(task["status"], "COMPLETED")
        events = self.logs.get_log_events(
            logGroupName="/aws/omics/WorkflowLog", startFromHead=True,
            logStreamName=f"run/{run}/task/{task['taskId']}",
        )["events"]
        self.assertTrue(any("to-the-log" in event["message"] for event in events), events)
        self.nothing_left()

    def test_a_failing_task_is_named_with_its_last_words(self):
        run = self.start(wdl("echo the-reason >&2; exit 3"))
        state = self.ended(run)
        self.assertEqual(state["status"], "FAILED")
        self.assertEqual(state["failureReason"], "RUN_TASK_FAILED")
        self.assertIn("the-reason", state["statusMessage"])
        self.assertFalse([key for key in self.keys(run) if "/out/" in key.split(run)[1]])
        self.nothing_left()

    def test_parameters_are_checked_before_anything_starts(self):
        workflow = self.workflow(wdl("cat ~{file}", inputs="File file", names="file = file"))
        role = self.vault.env["READVAULT_RUN_ROLE"]
        wrong = [
            {}, {"file": "s3://results/in/hello.txt", "unknown": 1},
            {"file": "s3://results/absent"}, {"file": "s3://absent-bucket/key"},
            {"file": "omics://000000000000.storage.us-east-1.amazonaws.com/1/readSet/1"},
        ]
        for parameters in wrong:
            try:
                run = self.omics.start_run(
                    workflowId=workflow, roleArn=role, outputUri="s3://results/out",
                    parameters=parameters,
                )["id"]
            except ClientError as refused:
                self.assertEqual(refused.response["Error"]["Code"], "ValidationException")
                continue
            state = self.ended(run)
            self.assertEqual(state["status"], "FAILED", parameters)
            self.assertEqual(self.omics.list_run_tasks(id=run)["items"], [])

    def test_privileged_and_foreign_images_are_refused(self):
        run = self.start(wdl("true", runtime="privileged: true"))
        state = self.ended(run)
        self.assertEqual(state["status"], "FAILED")
        self.assertIn("privileged", state["statusMessage"])
        run = self.start(wdl("true", image="absent:1"))
        state = self.ended(run)
        self.assertEqual(state["status"], "FAILED")
        self.assertIn("absent", state["statusMessage"])
        self.nothing_left()

    def test_a_task_that_takes_too_much_memory_is_ended(self):
        run = self.start(wdl("head -c 900000000 /dev/zero | tail -c 800000000 | wc -c"))
        state = self.ended(run)
        self.assertEqual(state["status"], "FAILED")
        self.assertIn(state["failureReason"], ("OUT_OF_MEMORY_ERROR", "RUN_TASK_FAILED"))
        self.nothing_left()

    def test_a_task_sees_nothing_but_its_own(self):
        probe = textwrap.dedent(r"""
            echo "uid $(id -u)"
            grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | tr '\t' ' '
            echo "interfaces $(tail -n +3 /proc/net/dev | awk -F: '{print $1}' | tr -d ' ' | tr '\n' ' ')"
            (exec 3<>/dev/tcp/127.0.0.1/PORT) 2>/dev/null && echo REACHED-SERVER || echo no-server
            (exec 3<>/dev/tcp/1.1.1.1/53) 2>/dev/null && echo REACHED-NET || echo no-net
            ls /run/rv >/dev/null 2>&1 && echo SEES-SHIM || echo no-shim
            ls DATA >/dev/null 2>&1 && echo SEES-DATA || echo no-data
            mount -t tmpfs none /tmp 2>/dev/null && echo MOUNTED || echo no-mount
            unshare -U true 2>/dev/null && echo UNSHARED || echo no-unshare
            echo "processes $(ls -d /proc/[0-9]* | wc -l)"
            echo x > /usr/bin/planted 2>/dev/null && echo WROTE-IMAGE || echo image-read-only
            cat /proc/1/environ 2>/dev/null | tr '\0' '\n' | grep -iE 'secret|AWS_ACCESS' && echo LEAK || echo no-secrets
            ls /dev | tr '\n' ' '
            perl -e '
                my %calls = (ptrace => [101, 16, 1, 0, 0], process_vm_readv => [310, 1, 0, 0, 0, 0, 0],
                    mount => [165, 0, 0, 0, 0, 0], fsopen => [430, "tmpfs", 0], setns => [308, 0, 0],
                    unshare => [272, 0x10000000], keyctl => [250, 0, 0], add_key => [248, 0, 0, 0, 0, 0],
                    bpf => [321, 0, 0, 0], perf_event_open => [298, 0, 0, -1, -1, 0],
                    userfaultfd => [323, 0], io_uring_setup => [425, 1, 0], kexec_load => [246, 0, 0, 0, 0],
                    open_by_handle_at => [304, 0, 0, 0], personality => [135, 0x0400000],
                    memfd_secret => [447, 0], init_module => [175, 0, 0, 0]);
                for (sort keys %calls) {
                    my @call = @{$calls{$_}};
                    my $found = syscall($call[0], @call[1..$#call]);
                    print $found == -1 ? "refused $_ ($!)\n" : "ALLOWED $_\n";
                }'
        """)
        probe = probe.replace("PORT", str(self.vault.port)).replace("DATA", str(self.vault.data))
        run = self.start(wdl(probe))
        state = self.ended(run)
        self.assertEqual(state["status"], "COMPLETED", state.get("statusMessage"))
        found = self.output(run).decode()
        print("\n" + found)
        self.assertEqual(found.count("refused "), 17, found)
        for good in ["no-server", "no-net", "no-shim", "no-data", "no-mount", "no-unshare",
                     "image-read-only", "no-secrets", "CapEff: 0000000000000000", "NoNewPrivs: 1",
                     "Seccomp: 2"]:
            self.assertIn(good, found)
        for bad in ["ALLOWED", "REACHED", "SEES", "MOUNTED", "UNSHARED", "WROTE", "LEAK"]:
            self.assertNotIn(bad, found)
        self.nothing_left()

    def test_a_cancelled_run_leaves_nothing(self):
        run = self.start(wdl("sleep 300"))
        self.running_task(run)
        self.omics.cancel_run(id=run)
        state = self.ended(run)
        self.assertEqual(state["status"], "CANCELLED")
        self.nothing_left()
        self.assertFalse([key for key in self.keys(run) if "/out/" in key.split(run)[1]])

    def pids(self, *words):
        listed = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True).stdout
        lines = [line.strip().split(None, 1) for line in listed.splitlines()]
        return [int(pid) for pid, args in lines if all(word in args for word in words)]

    def test_a_killed_supervisor_or_agent_fails_the_run_and_leaves_nothing(self):
        for which in ("supervisor", "agent"):
            run = self.start(wdl("sleep 300"))
            self.running_task(run)
            children = subprocess.run(
                ["pgrep", "-P", str(self.vault.process.pid)], capture_output=True, text=True
            ).stdout.split()
            agent = next(p for p in children if b"agent" in pathlib.Path(f"/proc/{p}/cmdline").read_bytes().split(b"\0")[1])
            victims = [int(agent)] if which == "agent" else [
                pid for pid in self.pids("supervise")
                if pathlib.Path(f"/proc/{pid}/stat").read_text().split()[3] == agent
            ]
            self.assertTrue(victims, which)
            for pid in victims:
                os.kill(pid, 9)
            state = self.ended(run)
            self.assertEqual(state["status"], "FAILED", which)
            self.nothing_left()

    def test_killing_what_people_see_ends_everything(self):
        with Vault() as vault:
            data = str(vault.data)
            self.admin("image", "import", str(IMAGES / "tools"), "--name", "tools:1", "--data", data)
            self.admin("engine", "add", "wdl", str(IMAGES / "engine-wdl"), "--data", data)
            mine, self.vault = self.vault, vault
            clients = self.omics, self.s3
            self.omics, self.s3 = vault.client("omics"), vault.client("s3")
            try:
                self.s3.create_bucket(Bucket="results")
                run = self.start(wdl("sleep 300"))
                self.running_task(run)
                vault.kill()
                self.nothing_left()
                wait_for(lambda: True if not self.pids("readvaultd", data) else None, 20)
                vault.start()
                state = self.ended(run)
                self.assertEqual(state["status"], "FAILED")
            finally:
                self.vault = mine
                self.omics, self.s3 = clients


@unittest.skipUnless(os.geteuid() == 0, "runs need root")
@unittest.skipUnless((IMAGES / "tools").is_dir(), "READVAULT_TEST_IMAGES names no images")
@unittest.skipUnless(CORPUS.is_dir(), "the corpus is not here")
class Mounted(Runs):
    """Every valid file of the corpus, read by a task through the run's decrypting mount."""

    settings = ["--run-staging", "mount"]

    def test_every_file_of_the_corpus_reads_the_same_through_the_mount(self):
        files = sorted(
            path for folder in ("bam", "cram", "fastq", "ubam")
            for path in (CORPUS / folder).rglob("*")
            if path.suffix in (".bam", ".cram", ".fq", ".gz", ".bai", ".crai") and path.is_file()
        )
        for number, path in enumerate(files):
            self.s3.upload_file(str(path), "results", f"corpus/{number}/{path.name}")
        uris = [f"s3://results/corpus/{n}/{path.name}" for n, path in enumerate(files)]
        command = "while read -r file; do sha256sum < $file; done < ~{write_lines(files)}"
        text = wdl(command, inputs="Array[File] files", names="files = files")
        run = self.start(text, {"files": uris})
        state = self.ended(run, 200)
        self.assertEqual(state["status"], "COMPLETED", state.get("statusMessage"))
        read = [line.split()[0] for line in self.output(run).decode().splitlines()]
        written = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
        self.assertEqual(read, written)
        print(f"{len(files)} files equal through the mount", flush=True)
        self.nothing_left()


@unittest.skipUnless(os.geteuid() == 0, "runs need root")
@unittest.skipUnless((IMAGES / "tools").is_dir(), "READVAULT_TEST_IMAGES names no images")
class Killed(Runs):
    """kill -9 of any process of a vault in any phase of a run: the run ends, and nothing of it is left."""

    KILLS = int(os.environ.get("READVAULT_RUN_KILLS", "60" if LONG else "6"))

    def processes(self):
        """What runs for this vault now, by what it is: agent, server, and all of the run's groups."""
        children = subprocess.run(
            ["pgrep", "-P", str(self.vault.process.pid)], capture_output=True, text=True
        ).stdout.split()
        found = []
        for pid in children:
            line = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
            kind = "agent" if b"\0agent\0" in line else "server"
            found.append((kind, int(pid)))
            if kind == "agent":
                agent = pid
        for pid in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                groups = (pid / "cgroup").read_text()
                line = (pid / "cmdline").read_bytes()
                parent = (pid / "stat").read_text().rsplit(")", 1)[1].split()[1]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if "/run-" in groups and "readvault-" in groups:
                part = groups.split("/run-")[1].split("\n")[0].split("/")[1:2] or ["?"]
                kind = "supervisor" if b"\0supervise\0" in line else part[0]
                found.append((kind, int(pid.name)))
            elif parent == agent:
                found.append(("starting supervisor", int(pid.name)))
        return found

    def test_any_process_killed_at_any_time_leaves_nothing(self):
        seed = int(os.environ.get("READVAULT_SEED", time.time_ns() % 1_000_000))
        print(f"\nseed {seed}, kills {self.KILLS}", flush=True)
        chance = random.Random(seed)
        text = wdl("cat ~{file}; sleep 0.5", inputs="File file", names="file = file")
        workflow = self.workflow(text)
        ends = {}
        for number in range(self.KILLS):
            run = self.omics.start_run(
                workflowId=workflow, roleArn=self.vault.env["READVAULT_RUN_ROLE"],
                outputUri="s3://results/out", parameters={"file": "s3://results/in/hello.txt"},
            )["id"]
            time.sleep(chance.uniform(0, 1.6))
            kinds = {}
            for kind, pid in self.processes():
                kinds.setdefault(kind, []).append(pid)
            kind = chance.choice(sorted(kinds))
            try:
                os.kill(chance.choice(kinds[kind]), 9)
            except ProcessLookupError:
                pass
            state = wait_for(lambda: self.look(run), 90, 0.2)
            ends.setdefault(kind, []).append(state)
            if state != "COMPLETED":
                outputs = [key for key in self.keys(run) if key.startswith(f"out/{run}/out/")]
                self.assertEqual(outputs, [], f"kill {number}: a {state} run left outputs")
            self.nothing_left()
        print(ends, flush=True)

    def look(self, run):
        """The end of a run; none while it goes on or the server is away."""
        try:
            state = self.omics.get_run(id=run)["status"]
        except (BotoCoreError, ClientError):
            return None
        return state if state in ("COMPLETED", "FAILED", "CANCELLED") else None


# The tests of the first class run once.
for name in [name for name in dir(Runs) if name.startswith("test_")]:
    setattr(Mounted, name, None)
    setattr(Killed, name, None)


if __name__ == "__main__":
    unittest.main()
