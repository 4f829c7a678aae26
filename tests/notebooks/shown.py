"""The show cells of the module notebooks: what they show is kept in the notebook, and compared in the tests.

    python tests/notebooks/shown.py notebooks/data/05_expectation.ipynb …    keep what they show now
    python tests/notebooks/shown.py --pipelines                              the same of the pipelines, by runs of mlkit

A show cell is a code cell without a directive (`#|`). Cells that are tests do not run here: they run as tests. Texts are compared
as they are; of pictures and HTML only that they are there.
"""

import os
import subprocess
import sys
import tempfile
from contextlib import chdir
from pathlib import Path

import nbformat
from execnb.shell import CaptureShell

NEVER = ("#| default_exp", "#| eval: false")
PIPELINES = ("prepare", "train", "validate", "monitor")
KINDS = ("text/plain", "text/html", "text/markdown", "image/png", "image/svg+xml")


def run(path: Path) -> nbformat.NotebookNode:
    "The notebook with what its show cells show now. Raises `RuntimeError` at the first cell that fails."
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    notebook, shell = nbformat.read(path, as_version=4), CaptureShell(path, mpl_format="png")
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")  # what another notebook of this process left open would be shown here
    with chdir(path.parent):
        for cell in notebook.cells:
            if cell.cell_type != "code" or cell.source.startswith(NEVER) or is_test(cell.source):
                continue
            outputs = shell.run(cell.source)
            if shell.exc:
                raise RuntimeError(f"{path}: {shell.exc!r} in the cell\n{cell.source}")
            cell.outputs = [] if cell.source.startswith("#|") else list(map(kept, outputs))
    return notebook


def is_test(source: str) -> bool:
    return source.startswith("#| test ")


def kept(output: dict) -> nbformat.NotebookNode:
    "An output as it is kept: without counts, and of many forms the plain one and the one for people."
    if output["output_type"] == "stream":
        return nbformat.v4.new_output("stream", name=output["name"], text="".join(output["text"]))
    data = {kind: whole(output["data"][kind]) for kind in KINDS if kind in output["data"]}
    return nbformat.v4.new_output(
        output["output_type"],
        data=data,
        **({"execution_count": None} if output["output_type"] == "execute_result" else {}),
    )


def whole(data: str | list[str]) -> str:
    return data if isinstance(data, str) else "".join(data)


def compared(outputs: list[dict]) -> list:
    "What must be equal: texts, and which pictures there are."
    found = []
    for output in outputs:
        if output["output_type"] == "stream":
            found.append((output["name"], output["text"]))
        else:
            drawn = sorted(kind for kind in output["data"] if kind != "text/plain")
            pictures = any(kind.startswith("image/") for kind in drawn)
            found.append((drawn, None if pictures else output["data"].get("text/plain")))
    return found


def differences(path: Path) -> list[str]:
    "The show cells that show something else than what is kept."
    before, now = nbformat.read(path, as_version=4), run(path)
    return [
        f"{path}: the cell\n{cell.source}\nshows\n{compared(cell.outputs)}\nwhere\n{compared(old.outputs)}\nis kept"
        for old, cell in zip(before.cells, now.cells, strict=True)
        if compared(old.get("outputs", [])) != compared(cell.get("outputs", []))
    ]


def keep_pipelines(folder: Path) -> None:
    "Run them in a store of their own: each reads what those before it have written."
    with tempfile.TemporaryDirectory() as store:
        for name in PIPELINES:
            command = [Path(sys.executable).parent / "mlkit", "run", name]
            subprocess.run(command, cwd=folder, env=os.environ | {"MLKIT_STORE": store}, check=True)
            newest = max(Path(store, "runs").glob("*/executed.ipynb"))
            showed = {cell.source: cell.outputs for cell in code_cells(nbformat.read(newest, as_version=4))}
            notebook = nbformat.read(folder / f"{name}.ipynb", as_version=4)
            for cell in code_cells(notebook):
                cell.outputs = list(map(kept, showed[cell.source]))
            nbformat.write(notebook, folder / f"{name}.ipynb")


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


if __name__ == "__main__":
    if sys.argv[1:] == ["--pipelines"]:
        keep_pipelines(Path(__file__).parents[2] / "notebooks/pipelines")
    else:
        for name in sys.argv[1:]:
            nbformat.write(run(Path(name)), name)
