"The project's own package: found by `mlkit run`, and by plain papermill from anywhere once it is installed as the note says."

import os
import re
import shutil
import subprocess
import sys
import sysconfig

import nbformat
import pytest
from quick_notebook import quick_project

PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "churn-of-ours"
version = "1"
[tool.setuptools]
packages = ["churn_of_ours"]
"""


@pytest.fixture
def python(tmp_path):
    "An environment of its own that also sees the packages of this one."
    run(tmp_path, sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    [packages] = (tmp_path / "venv/lib").glob("python*/site-packages")
    (packages / "ours.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    return tmp_path / "venv/bin/python"


def run(folder, *words):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        list(map(str, words)), cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


def test_plain_papermill_finds_the_project_s_package_once_it_is_installed_as_the_note_says(tmp_path, python):
    root, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    root.mkdir(), elsewhere.mkdir()
    quick_project(root)
    (root / "churn_of_ours").mkdir()
    (root / "churn_of_ours/__init__.py").write_text("ANSWER = 42\n")
    (root / "pyproject.toml").write_text(PYPROJECT)
    notebook = nbformat.read(root / "work.ipynb", as_version=4)
    notebook.cells[1].source = "import churn_of_ours\nassert churn_of_ours.ANSWER == 42"
    nbformat.write(notebook, root / "work.ipynb")
    papermill = (python, "-m", "papermill", root / "work.ipynb", elsewhere / "out.ipynb")
    mlkit = (python, "-m", "mlkit", "run", "work", "--force")

    before = run(root, *mlkit)
    assert before.returncode == 0, before.stderr
    refused = run(elsewhere, *papermill)
    assert refused.returncode and "No module named 'churn_of_ours'" in refused.stderr
    [told] = re.findall(
        r"^note: only `mlkit run` finds churn_of_ours .* after: pip (.*)$", before.stderr, re.M
    )

    uv = shutil.which("uv") or os.path.join(os.path.dirname(sys.executable), "uv")
    installed = run(
        elsewhere, uv, "pip", *told.split(), "--python", python, "--no-deps", "--no-build-isolation"
    )
    assert installed.returncode == 0, installed.stderr
    done = run(elsewhere, *papermill)
    assert done.returncode == 0, done.stderr
    after = run(root, *mlkit)
    assert after.returncode == 0 and "churn_of_ours" not in after.stderr, after.stderr
