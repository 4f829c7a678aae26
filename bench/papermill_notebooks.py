"""papermill's own test notebooks, each run by papermill and by mlkit, as the table of docs/papermill.md.

    python bench/papermill_notebooks.py [FOLDER] > docs/papermill.md

FOLDER is papermill/tests/notebooks of a checkout; without one the source of the installed version is fetched by pip. They
are run with the parameters that papermill's own tests give them. Some minutes: one of them sleeps for one.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

BIN = Path(sys.executable).parent
GIVEN = {  # by papermill's tests
    "simple_execute.ipynb": {"msg": "Hello"},
    "no_parameters.ipynb": {"msg": "hello"},
    "nb_version_4.4.ipynb": {"var": "It works"},
    "report_mode_test.ipynb": {"a": "0"},
    "s3/s3_in/s3-simple_notebook.ipynb": {"msg": "Hello"},
}
PAGE = """# papermill's own notebooks

A notebook that papermill runs should run in mlkit, too, or be refused with a reason that its author would accept. papermill {version} tests itself
with {count} notebooks. Each was run by `papermill IN OUT --cwd … -p …` and by `mlkit run IN -p …`, with the parameters that papermill's tests give it, and what
every cell showed was compared. `python bench/papermill_notebooks.py > docs/papermill.md` makes this page.

{same} of {count} do the same, to the last cell, also where they fail. The others:

{differ}

| notebook | papermill | mlkit | |
|---|---|---|---|
{table}
"""


def fetched(folder: Path) -> Path:
    "The notebooks of the installed version, from its source."
    name = f"papermill=={version('papermill')}"
    words = [
        "download",
        "-q",
        "--no-deps",
        "--no-binary",
        ":all:",
        "--no-build-isolation",
        "-d",
        str(folder),
        name,
    ]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True, stdout=sys.stderr)
    [archive] = folder.glob("*.tar.gz")
    with tarfile.open(archive) as source:
        source.extractall(folder, filter="data")
    return next(folder.glob("*/papermill/tests/notebooks"))


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLKIT_")}
    environment["PATH"] = f"{BIN}:{environment['PATH']}"
    return subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


def by_papermill(folder: Path, name: str) -> tuple[str, list]:
    given = [word for pair in GIVEN.get(name, {}).items() for word in ("-p", *pair)]
    out = folder / f"{name}.out"
    done = run(
        ["papermill", name, str(out), "--no-progress-bar", "--cwd", str((folder / name).parent), *given],
        folder,
    )
    said = "done" if not done.returncode else last_line(done.stderr)
    return said, cells_of(out, (folder / name).parent)


def by_mlkit(folder: Path, name: str) -> tuple[str, list]:
    given = [word for pair in GIVEN.get(name, {}).items() for word in ("-p", *pair)]
    project = folder / f"{name}.project"
    project.mkdir(parents=True)
    shutil.copytree(
        folder / Path(name).parent, project / "in", ignore=shutil.ignore_patterns("*.project", "*.out")
    )
    (project / "settings.ini").write_text("[project]\nname = papermill\n")
    done = run(["mlkit", "run", f"in/{Path(name).name}", *given], project)
    executed = list(project.glob("store/runs/*/executed.ipynb"))
    said = (
        "done"
        if not done.returncode
        else next(
            (line for line in done.stderr.splitlines() if line.startswith("error: ")), last_line(done.stderr)
        )
    )
    return said.replace(f"{project}/in/", "").removeprefix("error: "), cells_of(
        executed[0], project / "in"
    ) if executed else []


def last_line(text: str) -> str:
    return ([line for line in text.strip().splitlines() if line.strip()] or [""])[-1].strip()


def cells_of(path: Path, where: Path) -> list:
    "What each cell showed, without what is another one each time."
    if not path.exists():
        return []
    found = []
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] == "code":
            shown = [
                "".join(o.get("text", o.get("data", {}).get("text/plain", o.get("ename", ""))))
                for o in cell["outputs"]
            ]
            found.append(("".join(cell["source"]), "".join(shown).replace(str(where), "")))
    return found


def compare(folder: Path, name: str) -> tuple[str, str, str, bool]:
    (theirs, their_cells), (ours, our_cells) = by_papermill(folder, name), by_mlkit(folder, name)
    failed = (theirs != "done", ours != "done")
    same = failed[0] == failed[1] and their_cells == our_cells
    return name, theirs, ours, same


def cell(text: str) -> str:
    text = re.sub(r" \(/\S+/site-packages/(\S+)\)", r" (\1)", text)  # where it is installed is nobody's business
    text = text if len(text) <= 110 else f"{text[:109]}…"
    return text.replace("|", "\\|").replace("<", "\\<")


def main() -> None:
    with tempfile.TemporaryDirectory() as work:
        source = Path(sys.argv[1]) if len(sys.argv) > 1 else fetched(Path(work).resolve())
        folder = Path(work).resolve() / "run"
        shutil.copytree(source, folder)
        (folder / "check.txt").write_text("there")  # as papermill's test of read_check.ipynb makes it
        names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.ipynb"))
        with ThreadPoolExecutor(4) as pool:
            rows = list(pool.map(lambda name: compare(folder, name), names))
    for name, theirs, ours, same in rows:
        print(name, "|", theirs, "|", ours, "|", same, file=sys.stderr)
    same = [row for row in rows if row[3]]
    table = "\n".join(
        f"| {n} | {cell(t)} | {cell(o)} | {'the same' if s else 'differs'} |" for n, t, o, s in rows
    )
    differ = "\n".join(f"- `{n}`: {WHY.get(n, '?')}" for n, _, _, s in rows if not s)
    print(
        PAGE.format(
            version=version("papermill"), count=len(rows), same=len(same), differ=differ, table=table
        ),
        end="",
    )


EARLY = "papermill takes `sys.exit(0)` for a good end, with cells that were not run. A record of a run says what all cells did, so mlkit says that they did not"
WHY = {
    "blank-vscode.ipynb": "it names no kernel, as editors often leave it. mlkit takes Python's",
    "complex_parameters.ipynb": "its parameters cell is not Python on purpose, papermill's tests only inspect it. Both fail; mlkit does before a kernel starts",
    "nb_version_4.4.ipynb": '`var = 1` is a whole number, and papermill\'s test gives it a text. mlkit checks parameters by the type of their default; `var: str = "1"` or `var = None` would take it',
    "no_parameters.ipynb": "no cell has the tag `parameters`. papermill warns and puts `msg` at the top, where the notebook's own `msg = None` undoes it: it prints None. mlkit refuses a parameter that would be lost",
    "notimplemented_translator.ipynb": "it needs a kernel for R, which is not installed here. Both say so",
    "sysexit.ipynb": EARLY,
    "sysexit0.ipynb": "as `sysexit.ipynb`",
    "systemexit.ipynb": "as `sysexit.ipynb`",
}

if __name__ == "__main__":
    main()
