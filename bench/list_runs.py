"""How long `mlkit runs` takes on a store with many runs: first, with the index, and without it.

    python bench/list_runs.py [RUNS]

The runs are records as `mlkit run` writes them, with the packages of this environment and the cells of a real
notebook. Each time is of the real command, from the shell's point of view.
"""

import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mlkit.provenance import machine, packages
from mlkit.records import digest
from mlkit.runs.record import RunRecord
from mlkit.settings import find_project

TARGET = 1.0  # seconds, with the index


def write_runs(project, count: int) -> None:
    "Records of two years, a few of them failed."
    store, installed, here, chance = project.store, packages(), machine(), random.Random(1)
    for number in range(count):
        day, second = divmod(number * 6311, 86400)
        stamp = f"2026{1 + day // 28 % 12:02}{1 + day % 28:02}T{second // 3600:02}{second // 60 % 60:02}{second % 60:02}"
        failed = chance.random() < 0.05
        RunRecord(
            id=f"{stamp}-{number:06x}",
            notebook={
                "path": "notebooks/pipelines/train.ipynb",
                "code": digest(b"code"),
                "cells": [digest(str(i).encode()) for i in range(12)],
            },
            parameters={
                "trees": 150,
                "num_leaves": chance.randint(2, 1024),
                "learning_rate": chance.random(),
            },
            source={
                "commit": "0" * 40,
                "clean": True,
                "diff": None,
                "library": digest(b"l"),
                "settings": digest(b"s"),
            },
            lock=digest(b"lock"),
            packages=installed,
            machine=here,
            process={"host": "elsewhere", "pid": number, "since": 0.0},
            start=f"2026-01-01T00:00:00.{number:06}Z",
            end=f"2026-01-01T00:00:20.{number:06}Z",
            outcome="failed" if failed else "done",
            error="cell In [3]: ValueError: no" if failed else None,
            metrics={} if failed else {"tuning_auc": chance.random(), "auc": chance.random()},
            model=None if failed else digest(str(number).encode()),
        ).save(store)


def listing(root: Path) -> float:
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "mlkit", "runs"], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 20, done.stderr
    return time.perf_counter() - began


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "settings.ini").write_text("[project]\nname = bench\n")
        project = find_project(root)
        write_runs(project, count)
        print(f"mlkit runs, {count:,} runs in the store; seconds")
        print(f"  the first time              {listing(root):6.2f}")
        times = [listing(root) for _ in range(5)]
        spread = f"{min(times):.2f} to {max(times):.2f} of {len(times)}; target under {TARGET:g}"
        print(f"  with the index              {statistics.median(times):6.2f}   {spread}")
        [index] = (root / ".mlkit/cache").glob("runs-*.json")
        print(f"    the index is {index.stat().st_size / 1e6:.1f} MB")
        index.unlink()
        print(f"  after it was deleted        {listing(root):6.2f}")
        content = bytearray(index.read_bytes())
        content[len(content) // 2] ^= 1
        index.write_bytes(content)
        print(f"  after a bit in it flipped   {listing(root):6.2f}")
        index.write_bytes(index.read_bytes()[:-1000])
        print(f"  after its end was cut off   {listing(root):6.2f}")
        print(f"  and then                    {listing(root):6.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
