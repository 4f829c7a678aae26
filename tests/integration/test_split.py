"The split stands once: a person moves it, and a model that has seen the rows it is judged on does not pass."

import json
import os
import subprocess
import sys

import pytest

from mlkit.testing import write_notebook

SETTINGS = "[project]\nname = flights\npipelines = .\n[split]\ncolumn = day\nat = AT\n[gates]\nauc = >= 0.5\n"
PREPARE = """
import numpy as np, pandas as pd
from mlkit.runs.current import current_run
random = np.random.default_rng(1)
frame = pd.DataFrame({"distance": random.normal(size=1000), "day": pd.date_range("2013-01-01", periods=1000, freq="h")})
frame["late"] = frame.distance + random.normal(size=1000) > 0
current_run().write("flights", frame)
"""
START = """
from mlkit.runs.current import current_run
from mlkit.model.signature import Output, frame_columns, infer_signature
run = current_run()
seen, held_out = run.split(run.read("flights"))
"""
TRAIN = """
import lightgbm
from mlkit.model.features import encode, fit_features
signature = infer_signature(seen[["distance"]], Output("late", "probability"))
columns = frame_columns(signature, seen)
data = lightgbm.Dataset(encode(fit_features(columns), columns), seen.late, params={"verbose": -1})
booster = lightgbm.train({"objective": "binary", "num_threads": 1, "verbose": -1}, data, 5)
run.save_model(booster, signature, columns, target=seen.late)
"""
VALIDATE = """
bundle = run.load_model(model)
run.judge(bundle, held_out, held_out.late, bundle.predict(frame_columns(bundle.signature, held_out)))
"""


class Small:
    "A project of two notebooks in a folder."

    def __init__(self, folder):
        self.folder = folder
        self.split("2013-01-31")
        for name, cells in {
            "train": ["rounds: int = 5", START, TRAIN],
            "validate": ['model: str = "latest"', START, VALIDATE],
        }.items():
            write_notebook(folder / f"{name}.ipynb", *cells)
        subprocess.run([sys.executable, "-c", PREPARE], cwd=folder, check=True, capture_output=True)

    def split(self, at):
        (self.folder / "settings.ini").write_text(SETTINGS.replace("AT", at))

    def mlkit(self, *words):
        return subprocess.run(
            [sys.executable, "-m", "mlkit", *words],
            cwd=self.folder,
            env={name: value for name, value in os.environ.items() if name != "MLKIT_STORE"},
            capture_output=True,
            text=True,
            timeout=120,
        )


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return Small(tmp_path_factory.mktemp("small"))


def test_a_model_that_has_seen_what_it_is_judged_on_does_not_pass_after_the_split_moved(small):
    trained = json.loads(small.mlkit("train", "--json").stdout)
    passed = small.mlkit("validate")
    assert passed.returncode == 0 and "pass  training_rows_judged <= 0  is 0" in passed.stdout, passed.stderr
    small.split("2013-01-29")  # two days earlier: 48 rows that it was trained on are now held out
    failed = small.mlkit("validate")
    assert failed.returncode == 1 and "was done before" not in failed.stdout
    assert (
        "FAIL  training_rows_judged <= 0  48 of the 328 rows were in training. Take both sides from run.split(…)"
        in failed.stderr
    )
    assert f"error: the model {trained['model'][:19]} did not pass" in failed.stderr
    card = small.mlkit("card", trained["model"]).stdout
    assert "- **Seen in training:** 48 of the 328 rows were in training." in card
    again = json.loads(small.mlkit("train", "--json").stdout)  # the split is a setting: this is another run
    assert again["id"] != trained["id"] and again["model"] != trained["model"]
    assert small.mlkit("validate").returncode == 0


def test_a_split_that_says_nothing_is_refused_in_a_sentence(small):
    small.split("soon")
    refused = small.mlkit("train")
    assert refused.returncode == 2 and "settings.ini: [split] at = 'soon' is not a day" in refused.stderr
