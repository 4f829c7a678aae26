"The pipelines by every way that runs them, and what a person sees when something is wrong."

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest

BIN = Path(sys.executable).parent
WEAK = ["-p", "trees", "20", "-p", "num_leaves", "4"]  # learns too little to pass
ON_PATH = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def shell(root, store):
    "Runs a command as a person would type it in the checkout, with only MLKIT_STORE set."

    def call(*words, cwd=root, store=store):
        environment = ON_PATH | {"MLKIT_STORE": str(store)}
        return subprocess.run(map(str, words), cwd=cwd, env=environment, capture_output=True, text=True)

    return call


@pytest.fixture(scope="session")
def prepared(shell):
    done = shell("mlkit", "run", "prepare")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def train(root, shell, prepared, tmp_path_factory):
    "Trains by `way` and gives the model's digest; each training is done once, two at a time."
    executed = tmp_path_factory.mktemp("papermill") / "out.ipynb"
    commands = {
        "mlkit run train": ["mlkit", "run", "train", "--json", *WEAK],
        "papermill": ["papermill", "notebooks/pipelines/train.ipynb", executed, *WEAK],
        "mlkit train": ["mlkit", "train", "--json"],
    }
    with ThreadPoolExecutor(max_workers=2) as pool:
        runs = {way: pool.submit(shell, *words) for way, words in commands.items()}

        def model(way):
            done = runs[way].result()
            assert done.returncode == 0, done.stderr
            return digest_in(executed) if way == "papermill" else json.loads(done.stdout)["model"]

        yield model


def digest_in(executed):
    "The digest of the model that an executed notebook saved."
    outputs = [o for cell in nbformat.read(executed, as_version=4).cells for o in cell.get("outputs", [])]
    [saved] = [o.data["application/vnd.mlkit.model+json"] for o in outputs if "vnd.mlkit.model" in str(o)]
    return saved["digest"]


@pytest.fixture
def notebook(tmp_path):
    "Makes a project with one notebook of these cells, and gives the notebook's path."

    def make(name, *cells, project="[project]\nname = demo\n"):
        (tmp_path / "settings.ini").write_text(project)
        made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        made.cells[0].metadata["tags"] = ["parameters"]
        nbformat.write(made, tmp_path / name)
        return tmp_path / name

    return make


def test_papermill_and_mlkit_train_the_same_model(train, store):
    assert train("papermill") == train("mlkit run train") != train("mlkit train")
    assert (store / "models" / train("papermill").replace(":", "-") / "bundle.json").exists()


def test_the_default_model_passes_its_gates(shell, train):
    done = shell("mlkit", "validate", train("mlkit train"), "--json")
    record = json.loads(done.stdout)
    assert done.returncode == 0 and record["verdict"]["passed"]
    assert record["metrics"]["auc"] >= 0.69


def test_a_model_that_learned_too_little_fails_a_gate(shell, train):
    done = shell("mlkit", "validate", train("papermill"))
    assert done.returncode == 1
    assert f"error: the model {train('papermill')[:19]} did not pass" in done.stderr
    assert "FAIL  auc >= 0.69  is 0.6" in done.stderr


def test_a_leaking_column_is_refused(root, shell, prepared, notebook):
    "Somebody adds the departure's delay to the inputs of the real training notebook."
    cells = [c for c in nbformat.read(root / "notebooks/pipelines/train.ipynb", as_version=4).cells if c.cell_type == "code"]
    parameters = next(c.source for c in cells if "parameters" in c.metadata.get("tags", []))
    # TODO
