"A project that an older mlkit made is brought up to date: what its owner changed stays, what they did not is the templates' of today."

import json
from contextlib import chdir
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from mlkit.cli.main import main
from mlkit.new.update import RECORD
from mlkit.notebook.parameters import read_parameters

OLDER = Path(__file__).parent / "new/older_template.json"  # as `mlkit new` of ac40b43 made it
TRAIN = "notebooks/pipelines/train.ipynb"


@pytest.fixture
def older(tmp_path):
    for name, text in json.loads(OLDER.read_text())["files"].items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / RECORD).write_bytes(OLDER.read_bytes())
    random, rows = np.random.default_rng(1), 400
    age = random.normal(40, 12, rows).round()
    frame = pd.DataFrame(
        {"booking": np.arange(rows) + 1, "age": age, "city": random.choice(["Oslo", "Rome"], rows)}
    )
    frame["canceled"] = np.where(age + random.normal(0, 10, rows) > 40, "yes", "no")
    frame.to_csv(tmp_path / "stays.csv", index=False)
    return tmp_path


def change(path, old, new):
    text = path.read_text()
    assert text.count(old) == 1, old
    path.write_text(text.replace(old, new))


def update(root, *words):
    with chdir(root):
        return CliRunner().invoke(main, ["update", *words])


def test_a_project_of_an_older_template_gets_the_newer_one_and_keeps_what_its_owner_changed(older):
    change(older / "settings.ini", "port = 8000", "port = 8123")
    change(older / TRAIN, "num_leaves: int = 15", "num_leaves: int = 7")
    notebook = nbformat.read(older / TRAIN, 4)
    notebook.cells.append(nbformat.v4.new_code_cell("print('mine')"))
    nbformat.write(notebook, older / TRAIN)
    before = {path: path.read_bytes() for path in older.rglob("*") if path.is_file()}

    planned = update(older, "--dry-run")
    assert planned.exit_code == 0, planned.output
    assert {path: path.read_bytes() for path in older.rglob("*") if path.is_file()} == before
    done = update(older)
    assert (
        done.output.startswith(planned.output.rstrip()) and ".github/workflows/mlkit.yml: made" in done.output
    )

    assert "port = 8123" in (older / "settings.ini").read_text()
    merged = nbformat.read(older / TRAIN, 4)
    nbformat.validate(merged)
    sources = [cell.source for cell in merged.cells]
    assert any("run.training(" in source for source in sources)  # today's
    assert any("num_leaves: int = 7" in source for source in sources) and any(
        "print('mine')" in s for s in sources
    )
    assert (older / ".mlkit/before-update" / TRAIN).read_bytes() == before[older / TRAIN]


def test_a_project_that_nobody_changed_is_what_todays_templates_make_and_trains(older):
    assert update(older).exit_code == 0
    again = update(older)
    assert again.exit_code == 0 and {line.rpartition(": ")[2] for line in again.output.splitlines()} == {
        "as it was"
    }
    assert "sample" in read_parameters(older / TRAIN)
    with chdir(older):
        done = CliRunner().invoke(main, ["train", "-p", "trees", "5", "-p", "sample", "0.5"])
    assert done.exit_code == 0 and "model sha256:" in done.output, done.output


def test_lines_that_both_changed_are_shown_as_git_shows_them_and_the_exit_code_says_so(older):
    change(
        older / "README.md",
        "| `notebooks/pipelines/validate.ipynb` | from a model",
        "| `notebooks/pipelines/validate.ipynb` | my own words",
    )
    done = update(older)
    assert done.exit_code == 1 and "README.md: conflict" in done.output
    readme = (older / "README.md").read_text()
    assert readme.count("<<<<<<< yours") == readme.count(">>>>>>> template") == 1 and "my own words" in readme
    again = update(older)
    assert again.exit_code == 2 and "README.md has a conflict of an earlier update" in again.output
    assert (older / "README.md").read_text() == readme
