"""What a kept record costs: `run_notebook` beside plain `papermill.execute_notebook`, in turns, on the same notebook.

    python bench/run_overhead.py [ROUNDS]

The notebook does next to nothing, so that the difference shows. Both start a kernel of their own for each run, over
the same transport; imports are paid before. The order within a round changes from round to round. Starting a kernel varies
more than what we add: so the time that `run_notebook` spends outside of papermill is measured too.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import papermill
from traitlets.config import Config

from mlkit.runs.execute import run_notebook
from mlkit.settings import find_project
from mlkit.testing import write_notebook

TARGET = 0.3  # seconds a run
PARAMETERS = "n: int = 1  # [0, 1000000]"
WORK = 'from IPython.display import display\nMIME = "application/vnd.mlkit.metrics+json"\ndisplay({MIME: {"twice": 2.0 * n}, "text/plain": ""}, raw=True)'


def make_project(root: Path):
    "A project in a git checkout with a commit and a change, and one small notebook."
    (root / "settings.ini").write_text("[project]\nname = bench\npipelines = .\n")
    write_notebook(root / "work.ipynb", PARAMETERS, WORK)
    (root / ".gitignore").write_text("store/\n.mlkit/\nplain.ipynb\n")
    git = ["git", "-C", str(root), "-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "Begin"]):
        subprocess.run([*git, *words], check=True)
    (root / "notes.txt").write_text("not committed")
    return find_project(root)


def plainly(project, number):
    with tempfile.TemporaryDirectory() as sockets:
        papermill.execute_notebook(
            project.root / "work.ipynb",
            project.root / "plain.ipynb",
            parameters={"n": number},
            cwd=project.root,
            progress_bar=False,
            config=Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/k"}}),
        )


def recorded(project, number):
    record = run_notebook(project, project.root / "work.ipynb", {"n": number})
    assert record.metrics == {"twice": 2.0 * number}


def seconds(call, *arguments):
    began = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - began


def outside_of_papermill(times: list):
    "Collects what each run_notebook takes but for its execute_notebook."
    execute, inside = papermill.execute_notebook, []

    def timed(*arguments, **options):
        began = time.perf_counter()
        try:
            return execute(*arguments, **options)
        finally:
            inside.append(time.perf_counter() - began)

    def call(project, number):
        papermill.execute_notebook = timed
        try:
            total = seconds(recorded, project, number)
        finally:
            papermill.execute_notebook = execute
        times.append(total - inside.pop())

    return call


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        project = make_project(Path(folder))
        plainly(project, 0), recorded(project, 0)  # imports, caches
        pairs, own = [], []
        kept_run = outside_of_papermill(own)
        for number in range(1, rounds + 1):
            if number % 2:
                plain, kept = seconds(plainly, project, number), seconds(kept_run, project, number)
            else:
                kept, plain = seconds(kept_run, project, number), seconds(plainly, project, number)
            pairs.append((plain, kept))
    differences = sorted(kept - plain for plain, kept in pairs)
    low, median, high = statistics.quantiles(differences, n=4)
    print(f"{rounds} rounds, in turns; seconds a run, median")
    print(f"  papermill.execute_notebook  {statistics.median(p for p, _ in pairs):6.3f}")
    print(f"  mlkit run_notebook          {statistics.median(k for _, k in pairs):6.3f}")
    print(
        f"  difference                  {median:6.3f}   half of the rounds {low:.3f} to {high:.3f}; target under {TARGET}"
    )
    low, median, high = statistics.quantiles(own, n=4)
    print(f"  outside of papermill        {median:6.3f}   half of the rounds {low:.3f} to {high:.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
