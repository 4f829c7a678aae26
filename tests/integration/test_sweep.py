"A sweep says what the best trial is best in, or asks: a metric is never guessed to be better when it is larger."

import json
import subprocess

import nbformat
import pytest
from quick_notebook import MLKIT, quick_project

MODEL = f"sha256:{0:063}"
LOGGED = '{"trees": float(n), "tuning_mae": (n - 2) ** 2 / 8}'
LOGS = f"""
from IPython.display import display
display({{"application/vnd.mlkit.metrics+json": {LOGGED}, "text/plain": ""}}, raw=True)
display({{"application/vnd.mlkit.model+json": {{"digest": f"{MODEL}{{n}}"}}, "text/plain": ""}}, raw=True)
"""


@pytest.fixture
def project(tmp_path):
    return logging_project(tmp_path, LOGS)


def logging_project(folder, logs):
    project = quick_project(folder)
    notebook = nbformat.read(folder / "work.ipynb", as_version=4)
    notebook.cells[1].source = logs
    nbformat.write(notebook, folder / "work.ipynb")
    return project


def sweep(project, *words):
    done = subprocess.run(
        [*MLKIT, "sweep", "work", "-p", "n", "1,2,4", *words],
        cwd=project.root,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_metric_whose_direction_is_known_decides_and_not_the_first_that_is_logged(project):
    code, out, err = sweep(project)
    assert code == 0, err
    header, first, *_ = map(str.split, out.splitlines())
    assert header[:3] == ["trial", "n", "tuning_mae"] and first[:3] == ["1", "2", "0.0000"]
    assert "3 done; best tuning_mae 0.0000: n=2" in out and f"model {MODEL}2" in out
    latest = json.loads((project.root / "store/models/latest-quick.json").read_text())
    assert latest["model"] == f"{MODEL}2"


@pytest.mark.parametrize("more", [(), ("--trials", "2")])
def test_a_metric_without_a_known_direction_is_refused_before_anything_runs(project, more):
    code, out, err = sweep(project, "--metric", "trees", *more)
    assert code == 2 and out == ""
    assert "whether a large or a small trees is better is not known" in err
    assert "--metric trees --minimize or --metric trees --maximize" in err
    assert not (project.root / "store" / "runs").exists()


@pytest.mark.parametrize(("direction", "best"), [("--minimize", 1), ("--maximise", 4)])
def test_a_direction_that_is_said_is_taken(project, direction, best):
    code, out, err = sweep(project, "--metric", "trees", direction)
    assert code == 0 and f"best trees {best}.0000: n={best}" in out, out + err


@pytest.mark.parametrize(
    ("logged", "named"),
    [
        ('{"trees": float(n)}', "trees"),
        ('{"tuning_auc": 0.1 * n, "tuning_mae": 1.0 * n}', "tuning_auc, tuning_mae"),
    ],
)
def test_where_the_best_is_not_known_the_sweep_asks_for_the_metric(tmp_path, logged, named):
    project = logging_project(tmp_path, LOGS.replace(LOGGED, logged))
    code, out, err = sweep(project)
    assert code == 0, err
    assert f"no best: which metric? --metric NAME --minimize or --maximize; it logs: {named}" in out
    assert not (project.root / "store/models").exists()
