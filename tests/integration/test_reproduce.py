"A run is repeated to the byte in a fresh clone, and whatever changes is named."

import json
import os
import subprocess
import sys

import pytest

from mlkit.testing import write_notebook

TRAIN = [
    "trees: int = 5",
    "import lightgbm, numpy as np\nfrom mlkit.model.features import encode, fit_features\nfrom mlkit.runs.current import current_run\n"
    "from mlkit.model.signature import Output, frame_columns, infer_signature\nrun = current_run()",
    "rows = run.read('flights')\nsignature = infer_signature(rows[['distance', 'carrier']], Output('late', 'probability'))\n"
    "columns = frame_columns(signature, rows)\nmatrix = encode(fit_features(columns), columns)",
    "settings = {'objective': 'binary', 'num_threads': 1, 'seed': 1, 'deterministic': True, 'verbose': -1}\n"
    "data = lightgbm.Dataset(matrix, rows.late, params={'verbose': -1})\n"
    "run.save_model(lightgbm.train(settings, data, num_boost_round=trees), signature, columns)\n"
    "run.log(rows=len(rows))",
]
PREPARE = """
import numpy as np, pandas as pd
from mlkit.runs.current import current_run
frame = pd.DataFrame({"distance": np.arange(400) % 40, "carrier": ["AA", "UA"] * 200})
frame["late"] = frame.distance + CHANGE > 20
current_run().write("flights", frame)
"""


class Clone:
    "A clone of the project's repository, with the store that all clones share."

    def __init__(self, folder, store):
        self.folder, self.environment = folder, os.environ | {"MLKIT_STORE": str(store)}

    def __call__(self, *words):
        return subprocess.run(
            [str(word) for word in words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def mlkit(self, *words):
        return self(sys.executable, "-m", "mlkit", *words)

    def git(self, *words):
        done = self("git", "-c", "user.name=a", "-c", "user.email=a@example.org", *words)
        assert done.returncode == 0, done.stderr

    def write_data(self, change=0):
        done = self(sys.executable, "-c", PREPARE.replace("CHANGE", str(change)))
        assert done.returncode == 0, done.stderr

    def write_notebook(self, cells):
        write_notebook(self.folder / "train.ipynb", *cells)

    def train(self):
        done = self.mlkit("train", "--json", "--force")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def reproduce(self, run, *more):
        return self.mlkit("reproduce", run, *more)


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    folder = tmp_path_factory.mktemp("origin")
    origin = Clone(folder, tmp_path_factory.mktemp("store"))
    (folder / "settings.ini").write_text("[project]\nname = flights\npipelines = .\n")
    (folder / "requirements.lock").write_text("numpy==2.4.6\n")
    (folder / ".gitignore").write_text(".mlkit/\n")
    origin.write_notebook(TRAIN)
    origin.git("init", "-q")
    origin.git("add", "-A")
    origin.git("commit", "-qm", "first")
    origin.write_data()
    origin.run = origin.train()
    return origin


@pytest.fixture
def clone(origin, tmp_path):
    origin.git("clone", "-q", ".", str(tmp_path / "clone"))
    return Clone(tmp_path / "clone", origin.environment["MLKIT_STORE"])


def test_a_run_is_identical_in_a_fresh_clone(origin, clone):
    done = clone.reproduce(origin.run["id"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{origin.run['id']}: identical")
    assert clone("git", "worktree", "list").stdout.count("\n") == 1  # nothing is left behind


def test_a_dirty_tree_is_restored_with_its_new_files(origin, clone):
    (clone.folder / "extra.py").write_text("TREES = 7\n")
    clone.write_notebook(
        [TRAIN[0], "from extra import TREES", *TRAIN[1:3], TRAIN[3].replace("=trees", "=TREES")]
    )
    run = clone.train()
    clone.git("checkout", "-q", "train.ipynb")
    (clone.folder / "extra.py").unlink()
    assert run["model"] != origin.run["model"] and not run["source"]["clean"]
    assert "identical" in clone.reproduce(run["id"]).stdout


def test_one_changed_row_is_named(origin, clone):
    clone.write_data(change=1)
    try:
        done = clone.reproduce(origin.run["id"])
    finally:
        clone.write_data()
    assert done.returncode == 1
    assert "different\n  first difference: data: flights/rows.parquet: sha256:" in done.stdout


def test_a_changed_default_is_named(origin, clone):
    clone.write_notebook(["trees: int = 6", *TRAIN[1:]])
    clone.git("commit", "-qam", "one more tree")
    done = clone.reproduce(origin.run["id"], "--at", "HEAD")
    assert done.returncode == 1
    assert "different\n  first difference: parameters: trees: 5 → 6" in done.stdout
    assert "also: code: code cell 1: sha256:" in done.stdout
    assert "result: model: sha256:" in done.stdout


def test_a_changed_pin_is_named(origin, clone):
    key = f"{clone.environment['MLKIT_STORE']}/runs/{origin.run['id']}/run.json"
    record = json.loads(open(key).read())
    installed = record["packages"]["lightgbm"]
    changed = record | {"packages": record["packages"] | {"lightgbm": "4.0.0"}, "metrics": {"rows": 399.0}}
    open(key, "w").write(json.dumps(changed))
    try:
        done = clone.reproduce(origin.run["id"])
    finally:
        open(key, "w").write(json.dumps(record))
    assert done.returncode == 1
    assert f"first difference: lock: lightgbm: 4.0.0 → {installed}" in done.stdout
    assert "result: rows: 399.0 → 400.0" in done.stdout
    (clone.folder / "requirements.lock").write_text("numpy==2.4.5\n")
    clone.git("commit", "-qam", "another pin")
    done = clone.reproduce(origin.run["id"], "--at", "HEAD", "--json")
    reproduced = json.loads(done.stdout)
    assert (
        reproduced["outcome"] == "identical" and reproduced["differences"][0]["what"] == "requirements.lock"
    )


def test_a_commit_that_is_not_here_is_named(origin, clone):
    done = clone.reproduce(origin.run["id"], "--at", "0" * 40)
    assert done.returncode == 3 and "git worktree: fatal:" in done.stderr


def project_in(folder, store):
    "A project in a folder, without any repository."
    folder.mkdir(parents=True)
    project = Clone(folder, store)
    (folder / "settings.ini").write_text("[project]\nname = flights\npipelines = .\n")
    project.write_notebook(TRAIN)
    project.write_data()
    return project


def commands_of(card):
    "What the card says to type."
    return [line[2:].split()[1:] for line in card.splitlines() if line.startswith("$ mlkit ")]


def trains_and_says(project, words):
    "Both when the run is done and when it was done before, and for a sweep and what is adopted."
    sweep = ("sweep", "train", "-p", "trees", "4,5", "--metric", "rows", "--maximise")
    for command in ("train",), ("train",), sweep:
        done = project.mlkit(*command)
        assert done.returncode == 0 and words in done.stderr.splitlines(), done.stderr
    run = json.loads(project.mlkit("train", "--json").stdout)["id"]
    refused = project.reproduce(run)
    assert refused.returncode == 2 and words in refused.stderr, refused.stderr
    card = project.mlkit("card").stdout
    assert not commands_of(card) and words in card, card
    papermill = project(sys.executable, "-m", "papermill", "train.ipynb", "out.ipynb", "-p", "trees", "4")
    assert papermill.returncode == 0, papermill.stderr
    adopted = project.mlkit("adopt", "out.ipynb")
    assert adopted.returncode == 0 and words in adopted.stderr.splitlines(), adopted.stderr


def test_outside_of_git_and_before_the_first_commit_training_says_that_it_cannot_be_repeated(tmp_path):
    project = project_in(tmp_path / "project", tmp_path / "store")
    trains_and_says(project, "this run cannot be reproduced exactly: it is outside of git")
    project.git("init", "-q")
    done = project.mlkit("train", "--force")
    words = "this run cannot be reproduced exactly: the repository has no commit yet"
    assert done.returncode == 0 and words in done.stderr.splitlines(), done.stderr


def test_a_project_below_the_root_of_its_repository_is_reproduced(tmp_path):
    project = project_in(tmp_path / "all/of/it", tmp_path / "store")
    top = Clone(tmp_path / "all", tmp_path / "store")
    (top.folder / ".gitignore").write_text(".mlkit/\n")
    top.git("init", "-q")
    top.git("add", "-A")
    top.git("commit", "-qm", "first")
    clean = project.train()["id"]
    assert project.reproduce(clean).stdout == f"{clean}: identical\n"
    project.write_notebook([*TRAIN[:-1], f"import ours\n{TRAIN[-1]}"])
    (project.folder / "ours.py").write_text("'untracked code of the project'\n")
    dirty = project.train()["id"]
    [command] = commands_of(project.mlkit("card").stdout)
    assert command == ["reproduce", dirty]
    assert project.mlkit(*command).stdout == f"{dirty}: identical\n"
    top.git("clone", "-q", ".", str(tmp_path / "clone"))
    clone = Clone(tmp_path / "clone/of/it", tmp_path / "store")
    for run in clean, dirty:
        assert clone.reproduce(run).stdout == f"{run}: identical\n"


@pytest.mark.parametrize("source", ["data/raw.csv", "../outside.csv"])
def test_data_that_git_does_not_hold_is_read_where_the_project_reads_it(tmp_path, source):
    project = Clone(tmp_path / "project", tmp_path / "store")
    project.folder.mkdir()
    words = f"[project]\nname = flights\npipelines = .\n[dataset flights]\nsource = {source}\n"
    (project.folder / "settings.ini").write_text(words)
    (project.folder / ".gitignore").write_text(".mlkit/\ndata/\n")
    project.write_notebook(TRAIN)
    project.git("init", "-q")
    project.git("add", "-A")
    project.git("commit", "-qm", "first")
    rows = project.folder / source
    rows.parent.mkdir(exist_ok=True)
    rows.write_text("distance,carrier,late\n" + "1,AA,0\n30,UA,1\n" * 100)
    run = project.train()["id"]
    done = project.reproduce(run)
    assert done.stdout == f"{run}: identical\n", done.stderr
    rows.write_text("distance,carrier,late\n" + "2,AA,0\n30,UA,1\n" * 100)
    changed = project.reproduce(run)
    assert changed.returncode == 1
    assert f"different\n  first difference: data: flights/{rows.name}: sha256:" in changed.stdout


def test_what_was_adopted_is_traced_and_can_be_reproduced(clone):
    papermill = clone(sys.executable, "-m", "papermill", "train.ipynb", "out.ipynb", "-p", "trees", "9")
    assert papermill.returncode == 0, papermill.stderr
    adopted = json.loads(clone.mlkit("adopt", "out.ipynb", "--json").stdout)
    assert adopted["notebook"]["path"] == "train.ipynb"  # not the output, which lies beside it
    words = clone.mlkit("trace", adopted["model"]).stdout
    assert f"run {adopted['id']}  done" in words and "parameters trees=9" in words
    assert f"commit {adopted['source']['commit'][:12]}" in words and "notebook train.ipynb" in words
    assert adopted["id"] in clone.mlkit("trace", adopted["id"]).stdout
    card = clone.mlkit("card", adopted["model"]).stdout
    assert "train.ipynb, trees = 9" in card and commands_of(card) == [["reproduce", adopted["id"]]]
    assert clone.mlkit(*commands_of(card)[0]).stdout == f"{adopted['id']}: identical\n"
