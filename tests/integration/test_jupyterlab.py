"The pipelines in JupyterLab, in a real browser, as a data scientist runs them: open, Run All Cells, look."

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

import pytest
from conftest import ROOT, cannot_run, run
from eventually import eventually
from nbformat import v4, write
from playwright.sync_api import sync_playwright

PIPELINES = ["prepare", "train", "validate", "monitor"]  # in the order in which they need each other
LAPTOP = {"width": 1440, "height": 900}
CHROMIUM = [
    "--no-sandbox",  # root has none
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
QUIET = {  # JupyterLab asks nothing and keeps every cell in the page, seen or not
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
}
# In the status bar: the notebook's own indicator says "idle" before there is a kernel.
KERNEL_IS_IDLE = '#jp-main-statusbar :text("| Idle")'
EVERY_CELL_HAS_A_NUMBER = """() => [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')]
    .every(prompt => /\\[\\d+\\]/.test(prompt.textContent))"""


@dataclass
class Shown:
    "What the person sees after Run All Cells."

    text: str  # of all outputs
    errors: list[str]
    cells: int  # code cells, each with its number
    figures: list[int]  # the width of each, in pixels of the screen
    width: int  # of the notebook's column
    screenshot: Path  # the whole notebook


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    "A copy of the checkout's notebooks and settings."
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "settings.ini", folder)
    shutil.copytree(
        ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints")
    )
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    "Variables under which nothing is written in the user's home or the checkout."
    home = tmp_path_factory.mktemp("home")
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "MLKIT"))}
    folders = ["JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"]
    labs = ["JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR"]
    for name, settings in QUIET.items():
        file = home / "JUPYTERLAB_SETTINGS_DIR/@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings))
    ours |= {name: str(home / name) for name in folders + labs}
    return ours | {
        "HOME": str(home),
        "MLKIT_STORE": str(tmp_path_factory.mktemp("store")),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }


@pytest.fixture(scope="module")
def lab(project, environment, tmp_path_factory):
    "The address of a running JupyterLab: `lab('notebooks/pipelines/train.ipynb')`."
    token = token_hex(16)
    log = tmp_path_factory.mktemp("lab") / "jupyter.log"
    words = [
        "jupyter",
        "lab",
        "--no-browser",
        "--allow-root",
        "--port=0",
        f"--IdentityProvider.token={token}",
    ]
    with open(log, "w") as output:
        server = subprocess.Popen(words, cwd=project, env=environment, stdout=output, stderr=output)
    record = Path(environment["JUPYTER_RUNTIME_DIR"], f"jpserver-{server.pid}.json")

    def is_up():
        assert server.poll() is None, log.read_text()
        # Jupyter writes the record in place: until it ends with the object's brace it is half a record.
        return record.exists() and record.read_text().endswith("}") and json.loads(record.read_text())

    try:
        port = eventually(is_up, seconds=60)["port"]
        yield lambda path: f"http://127.0.0.1:{port}/lab/tree/{path}?token={token}&reset"
    finally:
        server.terminate()  # it ends its kernels
        server.wait(30)


@pytest.fixture(scope="module")
def browser(environment):
    executable = shutil.which("chromium") or cannot_run("chromium is not installed")
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=executable, args=CHROMIUM, env={**environment, "DISPLAY": ""}
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def shown(lab, browser, tmp_path_factory):
    "What each pipeline shows, after all were run in order."
    folder = tmp_path_factory.mktemp("screenshots")
    return {name: run_all_cells(lab, browser, name, folder) for name in PIPELINES}


def run_all_cells(lab, browser, name, folder):
    page = browser.new_page(viewport=LAPTOP)
    page.goto(lab(f"notebooks/pipelines/{name}.ipynb"), wait_until="domcontentloaded")
    page.wait_for_selector(KERNEL_IS_IDLE, timeout=60_000)
    page.screenshot(path=folder / f"{name}-opened.png")
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.wait_for_function(EVERY_CELL_HAS_A_NUMBER, timeout=180_000)
    page.wait_for_selector(KERNEL_IS_IDLE)
    page.screenshot(path=folder / f"{name}-laptop.png")
    seen = Shown(
        text="\n".join(page.locator(".jp-OutputArea-output").all_inner_texts()),
        errors=page.locator('[data-mime-type="application/vnd.jupyter.error"]').all_inner_texts(),
        cells=page.locator(".jp-CodeCell").count(),
        figures=page.locator('img[src^="data:image/png"]').evaluate_all("all => all.map(i => i.clientWidth)"),
        width=page.locator(".jp-OutputArea-output").first.evaluate("output => output.clientWidth"),
        screenshot=folder / f"{name}.png",
    )
    show_all_of(page)
    page.screenshot(path=seen.screenshot)
    page.close()
    return seen


def show_all_of(page):
    "Make the window so high that the whole notebook is in it."
    scroller = page.locator(".jp-Notebook .jp-WindowedPanel-outer")
    height = scroller.evaluate(
        "s => [...s.querySelectorAll('.jp-Cell')].reduce((h, c) => h + c.offsetHeight, 0)"
    )
    page.set_viewport_size(LAPTOP | {"height": height + 200})
    scroller.evaluate("s => s.scrollTo(0, 0)")


@pytest.mark.parametrize("name", PIPELINES)
def test_run_all_cells_leaves_no_error(shown, name):
    assert shown[name].errors == []
    assert shown[name].cells > 3


@pytest.mark.parametrize("name", PIPELINES)
def test_figures_are_there_and_fit_the_page(shown, name):
    figures = shown[name].figures
    assert figures and all(600 < width <= shown[name].width for width in figures)


def test_prepare_says_which_rows_it_wrote(shown):
    assert re.search(r"wrote flights: 327,346 rows, sha256:[0-9a-f]{12}", shown["prepare"].text)


def test_validate_shows_a_verdict_that_passed(shown):
    assert re.search(r"verdict [0-9a-f]{12} ● passed", shown["validate"].text)
    assert "FAIL" not in shown["validate"].text


def test_the_model_saved_in_jupyterlab_is_the_one_that_mlkit_trains(shown, project, environment):
    saved = re.search(r"saved flights (sha256:[0-9a-f]{12})", shown["train"].text)[1]
    trained = json.loads(run("mlkit", "train", "--json", cwd=project, env=environment).stdout)
    assert trained["model"].startswith(saved)


def test_a_notebook_makes_itself_a_run_once_it_is_saved(lab, browser, project, environment):
    path = "notebooks/pipelines/kept.ipynb"
    cells = ["trees: int = 3", "from mlkit import current_run", "run = current_run()\nrun.log(trees=trees)"]
    cells = [v4.new_code_cell(source) for source in [*cells, "run.keep()"]]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    write(v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), project / path)
    page = browser.new_page(viewport=LAPTOP)
    page.goto(lab(path), wait_until="domcontentloaded")
    page.wait_for_selector(KERNEL_IS_IDLE, timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    last = page.locator(".jp-CodeCell").last
    last.get_by_text("was run after the notebook was saved").first.wait_for(timeout=60_000)
    last.get_by_text("save the notebook (Ctrl+S) and run this cell again").first.wait_for()
    page.wait_for_function(EVERY_CELL_HAS_A_NUMBER)  # a cell has its output before its number
    page.wait_for_selector(KERNEL_IS_IDLE)
    page.keyboard.press("Control+s")
    saved = lambda: all(c["execution_count"] for c in json.loads((project / path).read_text())["cells"])  # noqa: E731
    eventually(saved, seconds=30)
    page.keyboard.press("Control+Enter")
    last.get_by_text("kept: notebooks/pipelines/kept.ipynb").wait_for(timeout=60_000)
    page.close()
    kept = json.loads(run("mlkit", "runs", "--json", cwd=project, env=environment).stdout)
    [kept] = [one for one in kept if one["notebook"]["path"] == path and one["outcome"] == "done"]
    assert kept["metrics"] == {"trees": 3.0}
