"The pipelines by every way that runs them, and what a person sees when something is wrong."

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest

from mlkit.testing import write_notebook

BIN = Path(sys.executable).parent
WEAK = ["-p", "trees", "20", "-p", "num_leaves", "4"]  # learns too little to pass
DAYS = "-p tune 2013-01-02 -p trees 1".split()  # of the first two thousand rows
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


@dataclass
class Trained:
    "A model and what `mlkit validate` answered about it."

    model: str
    validation: subprocess.CompletedProcess | None = None


@pytest.fixture(scope="session")
def trainings(shell, prepared, tmp_path_factory):
    "The trainings by name, started two at a time; the quick tests go on meanwhile."
    executed = tmp_path_factory.mktemp("papermill") / "out.ipynb"

    def weak_by_mlkit():
        return Trained(trained_by(shell("mlkit", "run", "train", "--json", *WEAK)))

    def weak_by_papermill():
        done = shell("papermill", "notebooks/pipelines/train.ipynb", executed, *WEAK)
        assert done.returncode == 0, done.stderr
        model = digest_in(executed)
        return Trained(model, shell("mlkit", "validate", model))

    def default():
        model = trained_by(shell("mlkit", "train", "--json"))
        return Trained(model, shell("mlkit", "validate", model, "--json"))

    with ThreadPoolExecutor(max_workers=2) as pool:
        yield {job.__name__: pool.submit(job) for job in (weak_by_papermill, default, weak_by_mlkit)}


def trained_by(done):
    "The digest of the model that `mlkit train --json` trained."
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["model"]


def digest_in(executed):
    "The digest of the model that an executed notebook saved."
    outputs = [o for cell in nbformat.read(executed, as_version=4).cells for o in cell.get("outputs", [])]
    [saved] = [o.data["application/vnd.mlkit.model+json"] for o in outputs if "vnd.mlkit.model" in str(o)]
    return saved["digest"]


@pytest.fixture
def notebook(tmp_path):
    "Makes a project of one notebook, whose first cell is the parameters cell, and gives the notebook's path."

    def make(name, *cells, settings="[project]\nname = demo\n"):
        (tmp_path / "settings.ini").write_text(settings)
        write_notebook(tmp_path / name, *cells)
        return tmp_path / name

    return make


def said(done):
    "The error that a person sees; what changes from run to run has a name in capitals."
    words = done.stderr[done.stderr.index("error: ") :]
    return re.sub(r"(/\S+/)?runs/\d{8}T\d{6}-[0-9a-f]{6}", "RUN", words)


@pytest.mark.parametrize(
    "command, code, words",
    [
        (
            "mlkit train -p num_leafs 63",
            2,
            """\
error: train.ipynb has no parameter 'num_leafs'
  did you mean: num_leaves?
  all parameters: mlkit params notebooks/pipelines/train.ipynb
""",
        ),
        (
            "mlkit train -p trees many",
            2,
            """\
error: parameter trees = 'many': expected int in [1, 5000]
  trees: int = 150  [1, 5000] boosting rounds
""",
        ),
        (
            "mlkit run notebooks/pipelines/train.ipynb -p trees 0",
            2,
            """\
error: parameter trees = 0: expected int in [1, 5000]
  trees: int = 150  [1, 5000] boosting rounds
""",
        ),
        (
            "mlkit run trian",
            2,
            """\
error: ROOT/notebooks/pipelines has no notebook 'trian'
  did you mean: train?
  known: monitor, prepare, train, validate
""",
        ),
        (
            "mlkit run monitor -p dataset nowhere",
            2,
            """\
error: monitor.ipynb failed: cell In [5]: MissingData: the store STORE has no dataset 'nowhere'
  datasets: flights
  the pipeline `prepare` makes it: mlkit run prepare
  the notebook up to there: RUN/executed.ipynb
""",
        ),
    ],
    ids=[
        "an unknown name",
        "a wrong type",
        "a value out of range",
        "an unknown pipeline",
        "a missing dataset",
    ],
)
def test_what_is_said_of_a_mistake(shell, root, store, trainings, command, code, words):
    done = shell(*command.split())
    assert said(done).replace(str(store), "STORE").replace(str(root), "ROOT") == words
    assert done.returncode == code


def test_an_unwritable_store_is_told_before_a_kernel_starts(shell, tmp_path):
    (tmp_path / "file").touch()
    done = shell("mlkit", "train", store=tmp_path / "file/store")
    words = said(done).replace("tree.diff", "run.json")  # which comes first where not all is committed
    assert words.replace(str(tmp_path), "TMP") == (
        "error: cannot write RUN/run.json in the store TMP/file/store: Not a directory\n"
        "  the store is `store` in settings.ini, or the variable MLKIT_STORE\n"
    )
    assert done.returncode == 3


@pytest.mark.parametrize(
    "cell, words",
    [
        ("1 / 0", "broken.ipynb failed: cell In [3]: ZeroDivisionError: division by zero\n  the"),
        (
            "import os; os.kill(os.getpid(), 9)",
            "broken.ipynb failed: the kernel died: killed, or out of memory\n  the",
        ),
    ],
    ids=["a cell that raises", "a killed kernel"],
)
def test_a_run_that_broke_keeps_the_notebook_up_to_there(shell, tmp_path, notebook, cell, words):
    broken = notebook("broken.ipynb", "rows: int = 3", "print('got here')", cell, "print('never')")
    done = shell("mlkit", "run", broken.name, cwd=tmp_path, store=tmp_path / "store")
    assert said(done) == f"error: {words} notebook up to there: RUN/executed.ipynb\n"
    assert done.returncode == 3
    kept = Path(done.stderr.split("the notebook up to there: ")[1].strip())
    text = kept.read_text()
    assert "got here" in text and cell in text and '"never' not in text.replace("print('never')", "")


def test_a_leaking_column_is_refused(root, shell, trainings, notebook):
    "Somebody adds the delay at departure to the inputs of the training notebook."
    cells = nbformat.read(root / "notebooks/pipelines/train.ipynb", as_version=4).cells
    sources = [cell.source for cell in cells if cell.cell_type == "code"]
    sources.sort(key=lambda source: "trees: int" not in source)  # the parameters cell first
    code = "\0".join(sources)
    assert "flights.INPUTS" in code and "run.read(dataset)" in code
    code = code.replace("flights.INPUTS", "[*flights.INPUTS, 'dep_delay']")
    code = code.replace("run.read(dataset)", "run.read(dataset).head(2000).assign(dep_delay=0.0)")
    settings = (root / "settings.ini").read_text().replace("at = 2013-10-01", "at = 2013-01-03")
    leaky = notebook("leaky.ipynb", *code.split("\0"), settings=settings)
    done = shell("mlkit", "run", "leaky.ipynb", *DAYS, cwd=leaky.parent)
    assert done.returncode == 2
    assert "LeakColumn: dep_delay is not known when the question is asked" in said(done)
    assert "leave it out of the features" in said(done)


def test_papermill_and_mlkit_train_the_same_model(trainings, store):
    model = trainings["weak_by_papermill"].result().model
    assert model == trainings["weak_by_mlkit"].result().model
    assert (store / "models" / model.replace(":", "-") / "bundle.json").exists()


def test_the_default_model_passes_its_gates(trainings):
    done = trainings["default"].result().validation
    record = json.loads(done.stdout)
    assert done.returncode == 0 and record["verdict"]["passed"]
    assert record["metrics"]["auc"] >= 0.69


def test_the_committed_pipelines_show_the_model_that_they_train_here(root, trainings):
    model = trainings["default"].result().model
    for name in ("train", "validate"):
        notebook = nbformat.read(root / f"notebooks/pipelines/{name}.ipynb", as_version=4)
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        assert f"flights {model[:19]}" in str(outputs), "keep what they show now: make show"
        assert any("image/png" in output.get("data", {}) for output in outputs)


def test_a_model_that_learned_too_little_fails_a_gate(trainings):
    weak = trainings["weak_by_papermill"].result()
    assert weak.validation.returncode == 1
    assert f"error: the model {weak.model[:19]} did not pass" in weak.validation.stderr
    assert "FAIL  auc >= 0.69  is 0.6" in weak.validation.stderr
