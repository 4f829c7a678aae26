"`mlkit new`: a stranger's table, from an empty folder to a live server by the commands of the README that was written."

import contextlib
import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import pexpect
import psutil
import pytest
from laptop import free_port
from sklearn.metrics import average_precision_score, ndcg_score

from mlkit.testing import searches

BIN = Path(sys.executable).parent
OWN_DATA = Path(__file__).parents[2] / "docs/own-data.md"


class Newcomer:
    "A person in an empty folder, whose home is empty, too."

    def __init__(self, folder):
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()

    def types(self, line, inside=".", check=True):
        "What a shell answers to a line."
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLKIT_", "GIT_"))}
        environment = kept | {"HOME": str(self.home), "PATH": f"{BIN}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder / inside,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done


@pytest.fixture
def newcomer(tmp_path):
    newcomer = Newcomer(tmp_path)
    yield newcomer
    for file in tmp_path.glob("*/.mlkit/local/*.pid"):  # of a test that failed half way
        if psutil.pid_exists(int(file.read_text())):
            psutil.Process(int(file.read_text())).terminate()


def passengers(folder):
    "Two values as texts, missing ones, an id, names, a column that knows the answer: the table of docs/own-data.md."
    [code] = re.findall(r"^```python\n(.*?)^```", OWN_DATA.read_text(), re.M | re.S)
    with contextlib.chdir(folder):
        exec(code, {})
    return "--data ship.csv --target survived"


def patients(folder):
    "A value, of a table that ships inside scikit-learn; two rows of each patient."
    from sklearn.datasets import load_diabetes

    table = load_diabetes(as_frame=True).frame
    table.assign(patient_id=np.arange(len(table)) // 2).to_csv(folder / "table.csv", index=False)
    return "--data table.csv --target target"


def visits(folder):
    "A count by days, with names that no program likes, and yes and no beside missing ones."
    random, rows = np.random.default_rng(2), 1200
    age = random.integers(18, 80, rows)
    insured = random.choice(np.array([True, False, None], object), rows)
    table = pd.DataFrame({"größe a|b": random.normal(170, 9, rows), "it's, {age} [years]": age})
    table['he said "hi"'] = age * 2  # left out: no request could name it
    table["😀 $x$"] = random.choice(['a"b', "c'd", "e,f"], rows)
    table["insured"] = insured
    table["day"] = pd.date_range("2026-01-01", periods=rows, freq="6h").strftime("%Y-%m-%d %H:%M:%S")
    table.assign(visits=random.poisson(age / 30 + 2 * (insured == True))).to_parquet(  # noqa: E712
        folder / "the table.parquet"
    )
    return "--data 'the table.parquet' --target visits"


def searched(folder):
    "Grades of use of what was found, ten for each query, in any order."
    frame, grade = searches(150)
    frame.assign(grade=grade).sample(frac=1, random_state=1).to_csv(folder / "found.csv", index=False)
    return "--data found.csv --target grade --kind ranking --group query"


TABLES = {"probability": passengers, "value": patients, "count": visits, "ranking": searched}


HELD_OUT = """
from mlkit import find_project
from mlkit.data.dataset import read_dataset
from mlkit.data.split import read_split
seen, held_out = read_split(find_project()).parts(read_dataset(find_project(), "mine")[0])
assert not {*seen["query"]} & {*held_out["query"]}
held_out.to_json("../held_out.json", orient="records")
"""


def refuse_other_ranking(newcomer, project):
    "LightGBM's own scores of the held-out rows, and what scikit-learn says of their order, are those of the verdict."
    (newcomer.folder / "held_out.py").write_text(HELD_OUT)
    newcomer.types("python ../held_out.py", "mine")
    rows = pd.read_json(newcomer.folder / "held_out.json")
    [model] = project.glob("store/models/*/model.txt")
    features = json.loads((model.parent / "bundle.json").read_text())["features"]
    cells = [rows[f["name"]].map(f["levels"].index) if f.get("levels") else rows[f["name"]] for f in features]
    scores = lightgbm.Booster(model_file=str(model)).predict(np.column_stack(cells).astype(float))
    groups = [(2.0 ** rows.grade[of] - 1, scores[of]) for of in rows.groupby("query").indices.values()]
    ndcg = np.mean([ndcg_score([gain], [told]) for gain, told in groups])
    map_ = np.mean([average_precision_score(gain > 0, told) for gain, told in groups if gain.any()])
    [verdict] = map(json.loads, (path.read_text() for path in project.glob("store/verdicts/*/verdict.json")))
    assert [verdict["metrics"][name] for name in ("ndcg", "map")] == pytest.approx([ndcg, map_])
    low, high = verdict["intervals"]["ndcg"]
    assert low < ndcg < high and verdict["metrics"]["training_rows_judged"] == 0
    card = newcomer.types("mlkit card mine@champion", "mine").stdout
    assert "a score that puts the rows of one `query` in order" in card


@pytest.mark.parametrize("kind", TABLES)
def test_a_strangers_table_is_live_after_the_four_commands_of_its_readme(newcomer, kind):
    said = newcomer.types(f"mlkit new mine {TABLES[kind](newcomer.folder)} --yes").stdout
    assert f"({kind})" in said
    project = newcomer.folder / "mine"
    assert newcomer.types("git status --short && git log --format=%s", "mine").stdout == (
        "A new project, by mlkit new\n"
    )
    assert len([path for path in project.rglob("*") if path.is_file() and ".git" not in path.parts]) == 8
    port = free_port()
    settings = project / "settings.ini"
    settings.write_text(settings.read_text().replace("port = 8000", f"port = {port}"))

    newcomer.types("papermill explore.ipynb /dev/null", "mine/notebooks/pipelines")  # as JupyterLab runs it
    commands = re.findall(r"^\$ (.+)$", (project / "README.md").read_text(), re.M)
    assert commands == ["mlkit train", "mlkit validate", "mlkit register --to champion", "mlkit deploy local"]
    for command in commands:
        newcomer.types(command, "mine")
    [golden] = project.glob("store/models/*/golden.json")
    asked = json.loads(golden.read_text())
    body = json.dumps({"rows": asked["rows"]}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/predict", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        assert json.loads(answer.read())["predictions"] == asked["predictions"]

    if kind == "ranking":
        refuse_other_ranking(newcomer, project)
    [trained] = [
        line.split()[0]
        for line in newcomer.types("mlkit runs", "mine").stdout.splitlines()
        if " train " in line
    ]
    assert newcomer.types(f"mlkit reproduce {trained}", "mine").stdout.strip() == f"{trained}: identical"

    supervisor = psutil.Process(int((project / ".mlkit/local/supervisor.pid").read_text()))
    processes = [supervisor, *supervisor.children(recursive=True)]
    newcomer.types("mlkit stop local", "mine")
    assert not [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def shown_on(page):
    "Each command of a page's console blocks, and what it shows there."
    for block in re.findall(r"^```console\n(.*?)^```", page, re.M | re.S):
        for command, words in re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", block, re.M):
            yield command, words


def without_chance(words):
    "Ids and digests are others each time, or on another processor."
    words = re.sub(r"\d{8}T\d{6}-[0-9a-f]{6}", "RUN", words)
    words = re.sub(r"(?<=verdict )[0-9a-f]{12}|(?<=verdicts/)[0-9a-f]{12}", "VERDICT", words)
    words = re.sub(r"[0-9a-f]{12}-[0-9a-f]{12}-[0-9a-f]{12}", "PREDICTION", words)
    return re.sub(r"sha256:[0-9a-f]{12,64}", "sha256:…", words).strip()


def test_every_command_of_the_page_on_own_data_shows_what_the_page_shows(newcomer):
    passengers(newcomer.folder)
    inside, port = ".", free_port()
    for command, words in shown_on(OWN_DATA.read_text()):
        if command.startswith("cd "):
            inside = command.removeprefix("cd ")
            settings = newcomer.folder / inside / "settings.ini"
            settings.write_text(settings.read_text().replace("port = 8000", f"port = {port}"))
            continue
        done = newcomer.types(command.replace(":8000", f":{port}"), inside)
        said = (done.stdout + (done.stderr if command.startswith("mlkit") else "")).replace(
            f":{port}", ":8000"
        )
        said = "\n".join(line for line in said.splitlines() if not line.startswith("running "))
        said = said.replace(str(newcomer.folder), "~")
        assert without_chance(said) == without_chance(words), command
    gates = re.search(r"^```ini\n(\[gates\].*?)^```", OWN_DATA.read_text(), re.M | re.S)[1]
    assert gates in (newcomer.folder / "ship/settings.ini").read_text()


def test_a_person_at_a_terminal_is_asked_what_the_table_cannot_say(newcomer):
    passengers(newcomer.folder)
    environment = os.environ | {"HOME": str(newcomer.home)}
    words = ["new", "mine", "--data", "ship.csv"]
    child = pexpect.spawn(str(BIN / "mlkit"), words, cwd=newcomer.folder, env=environment, timeout=60)
    for question, answer in {
        r"Which column is to be predicted: ": "survived",
        r"What to predict .*\[probability\]: ": "",
        r"Which value of survived to give the probability of \[yes\]: ": "no",
        r"lifeboat: it alone gives away .*\s+Which columns .* \[passenger,name,lifeboat\]: ": "passenger, name, lifeboat, fare",
    }.items():
        child.expect(question)
        child.sendline(answer)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    train = (newcomer.folder / "mine/notebooks/pipelines/train.ipynb").read_text()
    assert r"INPUTS = [\"sex\", \"age\"]" in train and r"== \"no\"" in train
