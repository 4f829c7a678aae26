"A project with one notebook that is done in a second, and what must hold for its store at any moment."

import json
import os
import subprocess
import sys

import psutil

from mlkit.runs.record import read_run
from mlkit.settings import find_project
from mlkit.testing import write_notebook

MLKIT = [sys.executable, "-m", "mlkit"]
PARAMETERS = "n: int = 0  # [0, 100000]\nbroken: int = -1"
WORK = """
import time
from IPython.display import display
time.sleep(0.2)
assert n != broken, "broken on purpose"
display({"application/vnd.mlkit.metrics+json": {"twice": 2.0 * n}, "text/plain": ""}, raw=True)
"""


def quick_project(folder):
    (folder / "settings.ini").write_text("[project]\nname = quick\npipelines = .\n")
    write_notebook(folder / "work.ipynb", PARAMETERS, WORK)
    return find_project(folder)


def mlkit(project, *words, codes=(0,)):
    "What a command prints on stdout."
    done = subprocess.run([*MLKIT, *words], cwd=project.root, capture_output=True, text=True, timeout=300)
    assert done.returncode in codes, done.stdout + done.stderr
    return done.stdout


def start_mlkit(project, *words):
    output = subprocess.DEVNULL
    return subprocess.Popen([*MLKIT, *words], cwd=project.root, stdout=output, stderr=output)


def records(project):
    "Every record of the store; one that cannot be read raises."
    store = project.store
    return [read_run(store, key.split("/")[1]) for key in store.stamps("runs", "run.json")]


def processes_of(*runs):
    "The processes, other than this, that belong to these runs."
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get("MLKIT_RUN") in runs:
                found.append(process)
        except psutil.Error:
            continue
    return found


def assert_whole(project):
    "No half record, no broken store, every run with an outcome, none of its processes left."
    listed = json.loads(mlkit(project, "runs", "--json", "-n", "1000000"))
    known = records(project)
    assert {run["id"]: run["outcome"] for run in listed} == {run.id: run.outcome for run in known}
    assert {run.outcome for run in known} <= {"done", "failed", "killed"}
    assert not processes_of(*(run.id for run in known))
    return known
