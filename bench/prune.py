"""How long `mlkit prune` takes on a store with many runs, and what is left where it was killed on the way.

    python bench/prune.py [RUNS] [KILLS]

The runs are chains of rows, a model and its verdict, of which each tenth became a version. First the real command on the whole
store, then the same store again, where the command is killed at KILLS moments spread over that time. After each kill everything
that is left is walked: each record is there that another names, each model opens, each version has all that it comes from.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mlkit.custody.trace import Chain
from mlkit.model.bundle import BUNDLE
from mlkit.records import read_record
from mlkit.registry import load_model, read_registry
from mlkit.runs.record import list_runs
from mlkit.settings import find_project
from mlkit.testing import fill_store
from mlkit.validation.verdict import read_verdict

TARGET = 60  # seconds
COMMAND = [sys.executable, "-m", "mlkit", "prune"]


def fail(error):
    raise error


def refuse_dangling(project) -> tuple[int, int]:
    "How many runs and models are left, each with all that it names."
    store = project.store
    runs = {run["id"]: run for run in list_runs(project, fail)}
    models = {key.split("/")[1].replace("-", ":") for key in store.keys("models") if key.endswith(BUNDLE)}
    for run in runs.values():
        assert {m["digest"] for m in run["models"]} <= models, run["id"]
    for model in models:
        assert load_model(store, model).run in runs, model
    for key in store.keys("verdicts"):
        if key.endswith("/verdict.json"):
            verdict = read_verdict(store, key.split("/")[1])
            assert verdict["model"] in models and verdict["run"] in runs, key
    for key in store.keys("sweeps"):
        for trial in read_record("sweep", store.get(key), key)["trials"]:
            assert trial["run"] in runs and trial["model"] in models, key
    chain = Chain(project)
    for version in read_registry(store, project.model).versions:
        lines = chain.up("model", version["model"]).lines()
        kinds = [line.strip("│├└─ ").partition(" ")[0] for line in lines]
        assert (kinds.count("run"), kinds.count("verdict")) == (2, 1), lines
    return len(runs), len(models)


def new_project(folder: str, runs: int):
    root = Path(folder)
    (root / "settings.ini").write_text("[project]\nname = bench\n")
    project = find_project(root)
    fill_store(project, runs)
    return project


def pruned(project) -> tuple[float, float]:
    "Seconds, and those of them on a processor."
    began, used = time.perf_counter(), os.times()
    done = subprocess.run(COMMAND, cwd=project.root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    print(*(f"    {line}" for line in done.stdout.splitlines()), sep="\n")
    now = os.times()
    cpu = now.children_user + now.children_system - used.children_user - used.children_system
    return time.perf_counter() - began, cpu


def condemned(project) -> set[str]:
    "What a prune has written down that it deletes, and is about to."
    return {path.name for path in Path(project.store).glob("pruning/condemned/*.json")}


def main(runs: int, kills: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        project = new_project(folder, runs)
        files = len(project.store.files(""))
        print(f"mlkit prune, {runs:,} runs, {files:,} files in the store; seconds")
        seconds, cpu = pruned(project)
        print(
            f"  all of it                   {seconds:6.1f}   target under {TARGET}; on a processor {cpu:.1f}"
        )
        print("    left: {:,} runs, {:,} models, none dangles".format(*refuse_dangling(project)))
    with tempfile.TemporaryDirectory() as folder:
        project, killed = new_project(folder, runs), 0
        for number in range(kills):
            process = subprocess.Popen(
                COMMAND, cwd=project.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            before = condemned(project)
            while process.poll() is None and condemned(project) == before:
                time.sleep(0.001)
            time.sleep(0.01 * number)  # seconds into the deleting
            process.send_signal(signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
            left = refuse_dangling(project)
            print(
                f"  kill {number + 1:2} {10 * number:3} ms into the deleting: left {left[0]:,} runs, {left[1]:,} models, none dangles"
            )
        print(f"  run again after {killed} kills    {pruned(project)[0]:6.1f}")
        print("    left: {:,} runs, {:,} models, none dangles".format(*refuse_dangling(project)))


if __name__ == "__main__":
    main(*map(int, [*sys.argv[1:], 5000, 20][:2] if len(sys.argv) < 3 else sys.argv[1:3]))
