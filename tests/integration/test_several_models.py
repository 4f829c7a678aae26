"Two models of one table in one project: trained, judged, registered, served and repeated, each for itself."

import http.client
import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from laptop import free_port

from mlkit.deploy.local.server import stop_local
from mlkit.runs.record import list_runs
from mlkit.settings import read_project
from mlkit.testing import write_notebook

SETTINGS = """[project]
name = shop
port = {port}
[dataset customers]
source = customers.csv
[split]
share = 0.25
[model churn]
[gates churn]
auc = >= 0.6
[model spend]
port = {other}
leaks = churned
[gates spend]
r2 = >= 0.2
"""
TRAIN = """
from lightgbm import {library}
from mlkit import current_run, frame_columns
run = current_run()
seen, held_out = run.split(run.read("customers"))
bundle = run.fit(seen[["age", "visits"]], seen["{target}"], {library}(n_estimators=trees), "{kind}")
guess = bundle.predict(frame_columns(bundle.signature, held_out))
run.judge(bundle, held_out, held_out["{target}"].to_numpy(), guess)
"""


@pytest.fixture
def shop(tmp_path):
    random = np.random.default_rng(1)
    age, visits = random.integers(18, 80, 600), random.poisson(5, 600)
    table = pd.DataFrame({"age": age, "visits": visits})
    table["churned"] = (visits + random.normal(0, 2, 600) < 4).astype(int)
    table["spent"] = (visits * 9 + random.normal(0, 5, 600)).round(2)
    table.to_csv(tmp_path / "customers.csv", index=False)
    (tmp_path / "settings.ini").write_text(SETTINGS.format(port=free_port(), other=free_port()))
    for model, of in {
        "churn": {"library": "LGBMClassifier", "target": "churned", "kind": "probability"},
        "spend": {"library": "LGBMRegressor", "target": "spent", "kind": "value"},
    }.items():
        (tmp_path / "notebooks/pipelines" / model).mkdir(parents=True)
        notebook = tmp_path / "notebooks/pipelines" / model / "train.ipynb"
        write_notebook(notebook, "trees: int = 20", TRAIN.format(**of))
    (tmp_path / ".gitignore").write_text("store/\n.mlkit/\n")
    for words in ("init -q", "add -A", "-c user.name=a -c user.email=a@example.org commit -qm first"):
        subprocess.run(["git", *words.split()], cwd=tmp_path, check=True)
    yield read_project(tmp_path)
    for model in ("churn", "spend"):
        stop_local(read_project(tmp_path).about(model))


def mlkit(folder, *words, code=0):
    environment = {name: value for name, value in os.environ.items() if name != "MLKIT_STORE"}
    done = subprocess.run(
        [sys.executable, "-m", "mlkit", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def ask(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(
        "POST", "/predict", '{"rows":[{"age":30,"visits":5}]}', {"Content-Type": "application/json"}
    )
    return json.loads(connection.getresponse().read())


def test_two_models_of_one_table_live_side_by_side_and_each_is_stale_and_repeated_for_itself(shop):
    assert "shop has 2 models, and nobody said which is meant" in mlkit(shop.root, "train", code=2)
    assert "did you mean: churn?" in mlkit(shop.root, "train", "chrun", code=2)
    for model in shop.models:
        said = mlkit(shop.root, "train", model)
        assert "PASS" in said
        mlkit(shop.root, "register", model, "--to", "champion")
        mlkit(shop.root, "deploy", "local", model)
    assert "did you mean: spend?" in mlkit(shop.root, "deploy", "local", "spent", code=2)
    answers = {model: ask(shop.about(model).port) for model in shop.models}
    assert answers["churn"]["predictions"][0] < 1 < answers["spend"]["predictions"][0]
    assert answers["spend"]["model"][:19] in mlkit(shop.root, "status", "local", "--model", "spend")
    assert "spend@1 (champion)" in mlkit(shop.root, "trace", answers["spend"]["id"])

    settings = shop.root / "settings.ini"
    settings.write_text(settings.read_text().replace("r2 = >= 0.2", "r2 = >= 0.1"))
    assert "was done before and nothing has changed" in mlkit(shop.root, "train", "churn")
    before = len(list_runs(shop))
    assert "done" in mlkit(shop.root / "notebooks/pipelines/spend", "train")  # where one stands says which
    assert len(list_runs(shop)) == before + 1
    first = min(run["id"] for run in list_runs(shop) if "spend" in run["notebook"]["path"])
    assert "identical" in mlkit(shop.root, "reproduce", first)
