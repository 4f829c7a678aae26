"What `from mlkit import …` gives, and what it costs."

import json
import re
import subprocess
import sys
from inspect import ismodule

import mlkit


def test_the_names_are_sorted_and_each_is_there():
    assert mlkit.__all__ == sorted(mlkit.__all__) == list(mlkit.HOME)
    for name in mlkit.__all__:
        value = getattr(mlkit, name)
        assert ismodule(value) or value.__module__ == f"mlkit.{mlkit.HOME[name]}", name
    assert set(mlkit.__all__) <= set(dir(mlkit))


def test_the_pipelines_import_from_mlkit_alone(root):
    asked = set()
    for path in (root / "notebooks/pipelines").glob("*.ipynb"):
        cells = json.loads(path.read_text())["cells"]
        code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
        assert re.findall(r"(?:from|import) mlkit\.(?!examples)\S+", code) == [], path.name
        for names in re.findall(r"from mlkit import (?:\(([^)]+)\)|(.+))", code):
            asked |= set(re.findall(r"\w+", "".join(names)))
    assert (
        {"current_run", "infer_signature", "frame_columns", "encode", "figures"}
        <= asked
        <= set(mlkit.__all__)
    )


def test_a_name_that_is_not_there_is_an_ordinary_error():
    try:
        mlkit.nothing  # noqa: B018
    except AttributeError as error:
        assert str(error) == "module 'mlkit' has no attribute 'nothing'"
    else:
        raise AssertionError


def test_importing_mlkit_imports_nothing_else():
    code = "import sys; before = set(sys.modules); import mlkit; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [m for m in eval(done.stdout) if m.startswith("mlkit")] == ["mlkit"]
    assert len(eval(done.stdout)) < 10


def test_a_type_checker_knows_the_public_face(tmp_path):
    (tmp_path / "asks.py").write_text(
        f"from mlkit import {', '.join(mlkit.__all__)}\n"
        "reveal_type(current_run())\n"
        "current_run().no_such_method()\n"
        "Store(3)\n"
    )
    words = ["mypy", "--follow-imports=silent", "--ignore-missing-imports", "--cache-dir", tmp_path / "cache"]
    done = subprocess.run(
        [sys.executable, "-m", *words, tmp_path / "asks.py"], capture_output=True, text=True
    )
    assert 'Revealed type is "mlkit.runs.current.Run"' in done.stdout
    assert (
        '"Run" has no attribute "no_such_method"' in done.stdout
        and '"Store" has incompatible type' in done.stdout
    )
    assert "Found 2 errors" in done.stdout, done.stdout
