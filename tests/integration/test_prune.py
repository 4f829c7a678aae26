"Pruning a folder and a bucket of a real S3 server: killed on the way, and beside a run that trains what is old."

import os
import signal
import subprocess
import sys
from datetime import timedelta

from mlkit.custody.prune import plan_prune, prune
from mlkit.custody.trace import Chain
from mlkit.model.bundle import BUNDLE, model_key
from mlkit.registry import load_model, read_registry
from mlkit.runs.record import list_runs
from mlkit.settings import read_project
from mlkit.store import Store
from mlkit.testing import fill_store, small_project

AGE = timedelta(days=0)


def old_project(monkeypatch, address, runs):
    "A project whose store is that address, with runs of long ago."
    project = small_project()
    fill_store(project, runs)
    here, there = project.store, Store(address)
    for key in here.keys(""):
        there.put(key, here.get(key))
    monkeypatch.setenv("MLKIT_STORE", address)
    return read_project(project.root)


def refuse_dangling(project):
    store = project.store
    runs = {run["id"]: run for run in list_runs(project)}
    models = {key.split("/")[1].replace("-", ":") for key in store.keys("models") if key.endswith(BUNDLE)}
    for run in runs.values():
        assert {m["digest"] for m in run["models"]} <= models
    for model in models:
        assert load_model(store, model).run in runs
    chain = Chain(project)
    for version in read_registry(store, "flights").versions:
        assert str(chain.up("model", version["model"]).lines()).count("── run ") == 2


def test_a_killed_prune_leaves_what_is_whole_and_the_next_one_ends_it(monkeypatch, address):
    project = old_project(monkeypatch, address, 60)
    code = """
import os, signal, sys
from datetime import timedelta
from pathlib import Path
from mlkit.custody.prune import prune
from mlkit.settings import read_project
from mlkit.store import Store

left, delete = int(sys.argv[2]), Store.delete

def counted(store, keys):
    global left
    left -= 1
    delete(store, list(keys)[: None if left else 1])
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

Store.delete = counted
prune(read_project(Path(sys.argv[1])), timedelta(0))
"""
    for calls in 1, 2, 3, 4:
        done = subprocess.run(
            [sys.executable, "-c", code, str(project.root), str(calls)],
            env=os.environ | {"MLKIT_STORE": address},
        )
        assert done.returncode == -signal.SIGKILL
        refuse_dangling(project)
    prune(project, AGE)
    refuse_dangling(project)
    store = Store(address)
    assert not plan_prune(project, AGE) and store.keys("pruning") == []
    assert (
        len(read_registry(store, "flights").versions)
        == 2
        == sum(key.endswith(BUNDLE) for key in store.keys("models"))
    )
    assert (
        store.keys("sweeps") == []
        and sum(key.endswith("verdict.json") for key in store.keys("verdicts")) == 2
    )


def test_a_run_that_trains_an_old_model_again_while_it_is_pruned_has_it_whole(monkeypatch, address):
    project = old_project(monkeypatch, address, 30)
    code = """
import sys
from pathlib import Path
from mlkit.model.hold import hold
from mlkit.runs.current import _put_bundle
from mlkit.registry import load_model
from mlkit.settings import read_project

store = read_project(Path(sys.argv[1])).store
bundle = load_model(store, sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
hold(store, "20261127T080000-aaaaaa", model=bundle.digest)
_put_bundle(store, bundle)
print("put", flush=True)
sys.stdin.readline()
"""
    model = next(id for kind, id in plan_prune(project, AGE).things if kind == "model")
    training = subprocess.Popen(
        [sys.executable, "-c", code, str(project.root), model],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"MLKIT_STORE": address},
    )
    try:
        assert training.stdout.readline() == "ready\n"

        def both(done, of):
            if training.stdin.writable() and done and not both.told:
                both.told = True
                training.stdin.write("\n")
                training.stdin.flush()

        both.told = False
        prune(project, AGE, both)
        assert training.stdout.readline() == "put\n"
        assert load_model(Store(address), model).digest == model
        prune(project, AGE)  # it is held as long as that process is there
        assert load_model(Store(address), model).digest == model
    finally:
        training.stdin.close()
        training.wait()
    prune(project, AGE)
    assert not Store(address).keys(model_key(model))


def test_what_is_written_is_known_by_its_bytes_and_time_and_deleted_with_its_folder(address):
    store = Store(address)
    for number in range(3):
        store.put(f"runs/{number}/run.json", b"12")
        store.put(f"runs/{number}/figures/01.png", b"123")
    found = store.files("runs")
    assert [size for size, _ in found.values()] == [3, 2] * 3 and all(
        written > 1.7e9 for _, written in found.values()
    )
    store.delete(["runs/0/run.json", "runs/0/figures/01.png", "runs/never/there"])
    assert sorted(store.files("")) == store.keys("") and len(store.keys("")) == 4
    store.delete([])
