"""What a server's whole process tree has used: CPU time and memory, as the kernel counts them."""

import os
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")


def tree(root: int) -> list[int]:
    "`root`, what descends from it, and what is in its session: a worker that lost its parent is still there."
    parents, found = {}, set()
    for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        if fields := _stat(pid):
            parents[pid] = int(fields[1])
            if pid == root or int(fields[3]) == root:
                found.add(pid)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found)


def cpu_seconds(root: int) -> float:
    "User and system time of the tree, with that of children that have ended."
    return sum(sum(map(int, fields[11:15])) for pid in tree(root) if (fields := _stat(pid))) * TICK


def memory(root: int) -> float:
    "PSS in MB: what is shared between the processes of the tree is counted once."
    return sum(_pss(pid) for pid in tree(root)) / 1024


def _stat(pid: int) -> list[str]:
    "Fields of /proc/PID/stat from the state on; none if the process is gone. A name may hold spaces and brackets."
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
