"The notebooks, run as their readers run them."

import multiprocessing
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from shown import differences

BIN = Path(sys.executable).parent


def run(*words, cwd, **options):
    return subprocess.run([str(w) for w in words], cwd=cwd, capture_output=True, text=True, **options)


def test_the_module_notebooks_run_from_top_to_bottom_and_show_what_is_kept(root):
    "Their tests do not run again: they run as the unit tests."
    notebooks = [
        path for path in sorted((root / "notebooks").rglob("*.ipynb")) if "pipelines" not in path.parts
    ]
    with multiprocessing.get_context("spawn").Pool(2, maxtasksperchild=10) as pool:
        found = [words for each in pool.imap(differences, notebooks) for words in each]
    if found:
        pytest.fail("\n\n".join([*found, "keep what they show now: make show"]), pytrace=False)


def test_the_library_is_what_the_notebooks_say(root, tmp_path):
    "Exports a copy and compares, so that nothing of the checkout is overwritten."
    files = run("git", "ls-files", "-co", "--exclude-standard", cwd=root, check=True).stdout.splitlines()
    for name in files:
        if (root / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, tmp_path / name)
    run("git", "init", "-q", cwd=tmp_path, check=True)
    run("git", "add", "-A", cwd=tmp_path, check=True)
    done = run("make", "export", f"VENV={BIN.parent}", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    diff = run("git", "diff", "--", "mlkit", "tests", "notebooks", cwd=tmp_path).stdout
    untracked = run("git", "ls-files", "-o", "mlkit", "tests", cwd=tmp_path).stdout
    untracked = "\n".join(line for line in untracked.splitlines() if "__pycache__" not in line)
    if diff or untracked:
        pytest.fail(
            f"{diff}{untracked}\nnotebooks and library differ; run `make export`, "
            "or `nbdev-update` if you edited the .py files, and commit",
            pytrace=False,
        )


def test_the_documentation_site_is_made_and_every_link_leads_somewhere(root):
    done = run("make", "docs", f"VENV={BIN.parent}", cwd=root)
    assert done.returncode == 0, done.stdout + done.stderr
    site = root / "build/site"
    assert "auc" in (site / "library/validation/01_metrics.html").read_text()
    assert "mlkit deploy" in (site / "reference/commands.html").read_text()
    assert "MLKIT_MAX_BODY" in (site / "reference/settings.html").read_text()
