"""Processes below a server: their peaks of memory, and their end."""

import os
import pathlib
import signal
import threading


class PeakMemory(threading.Thread):
    """Follows VmHWM of a process and of all that descend from it."""

    def __init__(self, root):
        super().__init__(daemon=True)
        self.root, self.peaks, self.ended = root, {}, threading.Event()

    def run(self):
        while not self.ended.wait(0.2):
            self.look()

    def look(self):
        for pid in descendants(self.root):
            try:
                status = pathlib.Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            for line in status.splitlines():
                if line.startswith("VmHWM:"):
                    self.peaks[pid] = max(self.peaks.get(pid, 0), int(line.split()[1]) * 1024)

    def reset(self):
        """Forgets the peaks until now: what follows counts from the memory in use."""
        for pid in descendants(self.root):
            pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")
        self.peaks.clear()

    def peak(self):
        """Bytes: the sum of the peaks of all processes."""
        self.look()
        return sum(self.peaks.values())

    def finish(self):
        self.ended.set()
        self.join()


def descendants(root):
    """`root` and all that descend from it."""
    parents = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, open_ = [], [root]
    while open_:
        pid = open_.pop()
        found.append(pid)
        open_.extend(parents.get(pid, []))
    return found


def kill_all(root):
    """Kills a process and all that descend from it at once, as a loss of power would end them."""
    pids = descendants(root)
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
