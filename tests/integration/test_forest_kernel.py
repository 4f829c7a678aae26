"""The forest's kernel: the committed builds are what zig makes of forest.c, and with sanitizers nothing is read astray.

Zig comes from the package index into build/zig (100 MB, once); the sanitizers are gcc's.
"""

import json
import os
import subprocess
import sys

import lightgbm
import numpy as np
import pytest

from mlkit.flavors.forest.kernel import MACHINES, SOURCE, built, library

FLAGS = "-std=c11 -Wall -Wextra -Werror -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -shared -fPIC"


def test_the_kernel_is_there_on_the_machine_that_tests():
    assert library().forest_check


def test_zig_makes_the_committed_builds_to_the_byte_in_any_folder(root, tmp_path):
    subprocess.run([sys.executable, root / "deploy/kernel/build.py", tmp_path / "elsewhere"], check=True)
    for machine in set(MACHINES.values()):
        again = tmp_path / "elsewhere" / built(machine).name
        assert again.read_bytes() == built(machine).read_bytes(), "forest.c has changed? run: make kernel"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    "Small models of several kinds."
    random, folder = np.random.default_rng(3), tmp_path_factory.mktemp("models")
    matrix = random.normal(size=(400, 4))
    matrix[:, 3] = random.integers(0, 70, 400)
    matrix[random.random(matrix.shape) < 0.1] = np.nan
    grade = np.digitize(np.nan_to_num(matrix[:, 0]) + (matrix[:, 3] % 3 == 1), [-0.5, 0.5])
    for name, more in (
        ("binary", {"objective": "binary"}),
        ("classes", {"objective": "multiclass", "num_class": 3}),
        ("zeros", {"objective": "poisson", "zero_as_missing": True}),
        (
            "average",
            {"objective": "regression", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
        ),
    ):
        settings = {
            "num_threads": 1,
            "verbose": -1,
            "num_leaves": 8,
            "min_data_per_group": 5,
            "cat_smooth": 1,
        }
        label = grade > 1 if name == "binary" else grade
        rows = lightgbm.Dataset(matrix, label, categorical_feature=[3], params={"verbose": -1})
        lightgbm.train(settings | more, rows, 4).save_model(folder / f"{name}.txt")
    return sorted(folder.iterdir())


def test_broken_models_and_odd_rows_do_nothing_that_is_undefined(root, tmp_path, models):
    kernel = tmp_path / "forest.so"
    digest = '-DFOREST_SOURCE="none"'
    subprocess.run(["gcc", *FLAGS.split(), digest, "-o", kernel, SOURCE, "-lm"], check=True)
    found = [
        subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    environment = os.environ | {"LD_PRELOAD": " ".join(found), "ASAN_OPTIONS": "detect_leaks=0"}
    command = [sys.executable, root / "tests/fuzz/forest.py", kernel, "10", *models]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    counts = json.loads(done.stdout)
    assert counts["refused"] > 100 and counts["answered"] > 100, counts
