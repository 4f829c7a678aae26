"A table that no program likes: `mlkit new` makes a project of it whose notebooks run, and every column that it asks for can be sent."

import contextlib
import io
import json

import matplotlib
import numpy as np
import pandas as pd
import pyarrow
import pytest
from click.testing import CliRunner

from mlkit.cli.main import main
from mlkit.data.dataset import read_dataset
from mlkit.errors import WrongType
from mlkit.model.signature import Output, frame_columns, infer_signature
from mlkit.serve.app import create_app
from mlkit.serve.options import Options
from mlkit.serve.service import Service
from mlkit.settings import read_project
from mlkit.testing import save_bundle

ROWS = 400
NAMES = [
    *("a b", "a,b", "it's", "{x}", "[y]", "😀", "größe", " before", "after ", "a=b", "a:b", "#c", ";d", "%e", "$m$"),
    *("<b>bold</b>", "a|b", "*", "`tick`", "class", "None", "__init__", "def f():", "%%code", "x" * 200, "missing"),
    *("1", "-1", "[gates]", "${HOME}", "{{ name }}", "{% raw %}", "e\u0301", "\u200b", "日本語", "a/b", "../up"),
]  # fmt: skip
UNSENDABLE = ['say "hi"', "back\\slash", "line\nbreak", "tab\there", "nul\x00"]


def hostile_table():
    random = np.random.default_rng(1)
    columns = {name: random.normal(0, 1, ROWS) for name in [*NAMES, *UNSENDABLE]}
    columns |= {f"measured {n}": random.normal(0, 1, ROWS) for n in range(560)}
    columns["odd levels"] = random.choice(["'", '"', "a,b", "missing", "😀", " ", "x = y", "#"], ROWS)
    columns["rare"] = np.where(np.arange(ROWS) == 7, "only once", "often")
    columns["missing once"] = np.where(np.arange(ROWS) == 7, np.nan, random.normal(0, 1, ROWS))  # held out
    columns["yes or no"] = random.choice(["yes", "no"], ROWS)
    columns["true or missing"] = random.choice(np.array([True, False, None], object), ROWS)
    columns["half missing"] = np.where(random.random(ROWS) < 0.5, np.nan, random.normal(0, 1, ROWS))
    columns["always"] = 1
    columns["account"] = 2**60 + random.permutation(ROWS)
    columns["nothing"] = pd.Series([None] * ROWS, dtype=object)
    columns["endless"] = np.where(np.arange(ROWS) == 3, np.inf, 1.5)
    columns["comment"] = [f'called {n} times, and said: "{n}"' for n in range(ROWS)]
    columns["list"] = [[n] for n in range(ROWS)]
    columns["iso day"] = ["2026-01-01"] * ROWS  # one day: nothing to split by
    columns["german day"] = [f"{n % 28 + 1}.{n % 12 + 1}.2026" for n in range(ROWS)]
    columns["other day"] = [f"{n % 12 + 1}/{n % 28 + 1}/26" for n in range(ROWS)]
    columns["knows"] = np.nan  # filled below
    table = pd.DataFrame(columns)
    late = table["a b"] + random.normal(0, 1, ROWS) > 0
    return table.assign(knows=np.where(late, 1.5, 0), **{'the "answer"?': np.where(late, "wahr", "fälsch")})


LEFT_OUT = {
    "always",
    "account",
    "nothing",
    "endless",
    "comment",
    "list",
    "iso day",
    "german day",
    "other day",
    "knows",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    hostile_table().to_parquet(folder / "it's [one].parquet")
    with contextlib.chdir(folder):
        words = [
            "new",
            "odd",
            "--data",
            "it's [one].parquet",
            "--target",
            'the "answer"?',
            "--positive",
            "wahr",
            "--yes",
        ]
        done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    return read_project(folder / "odd")


def run_cells(project, name):
    "Run a notebook's code here, as JupyterLab would in the folder of the notebook."
    matplotlib.use("agg")
    cells = json.loads((project.notebooks / f"{name}.ipynb").read_text())["cells"]
    names = {}
    with contextlib.chdir(project.notebooks), contextlib.redirect_stdout(io.StringIO()):
        for cell in cells:
            if cell["cell_type"] == "code":
                lines = [line for line in cell["source"] if not line.startswith("%config")]
                lines = [line.replace("trees: int = 150", "trees: int = 20") for line in lines]
                exec(compile("".join(lines), f"{name}.ipynb", "exec"), names)
    return names


@pytest.fixture(scope="module")
def trained(project):
    return run_cells(project, "train")


def test_what_no_model_can_be_asked_with_is_left_out_and_said(project):
    said = (project.root / "README.md").read_text()
    code = (project.notebooks / "train.ipynb").read_text()
    inputs = json.loads(code)["cells"][5]["source"]
    assert sum(line.count("measured ") for line in inputs) == 560
    assert all(f"| {name} |" in said for name in LEFT_OUT)
    assert said.count("in its name, which no request can carry") == len(UNSENDABLE)
    assert project.leaks == ("knows",)


def test_the_notebooks_run_and_the_model_is_asked_with_all_the_other_columns(project, trained):
    signature = trained["training"].signature
    inputs = {column.name for column in signature.asked}
    assert inputs == set(hostile_table()) - LEFT_OUT - set(UNSENDABLE) - {'the "answer"?'}
    assert [column.name for column in signature.inputs if column.carried] == ["account"]
    verdict = run_cells(project, "validate")["verdict"]
    assert verdict.metrics["auc"] > 0.6 and verdict.metrics["golden_rows_failed"] == 0
    run_cells(project, "explore")


def as_csv(rows):
    return pd.DataFrame(rows).to_csv(index=False).encode()


def as_arrow(rows):
    table, sink = pyarrow.Table.from_pylist(rows), pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


BODIES = {
    "application/json": lambda rows: json.dumps({"rows": rows}).encode(),
    "application/x-ndjson": lambda rows: b"".join(json.dumps(row).encode() + b"\n" for row in rows),
    "text/csv": as_csv,
    "application/vnd.apache.arrow.stream": as_arrow,
}


@pytest.mark.parametrize("media_type", BODIES)
def test_each_column_can_be_sent_in_each_format_and_is_answered_to_the_bit(trained, tmp_path, media_type):
    bundle = trained["bundle"]
    client = create_app(Service(Options(save_bundle(bundle, tmp_path)))).test_client()
    accounts = [2**60 + 1 + n for n in range(len(bundle.golden["rows"]))]
    rows = [row | {"account": id} for row, id in zip(bundle.golden["rows"], accounts, strict=True)]
    wanted = bundle.golden["predictions"]
    headers = {"Content-Type": media_type, "Accept": "application/json"}
    answer = client.post("/predict", data=BODIES[media_type](rows), headers=headers)
    assert answer.status_code == 200, answer.data[:1000]
    assert answer.json["predictions"] == wanted and len(set(wanted)) > 10
    assert answer.json["carried"] == {"account": accounts}


ODD = ["a b", "Größe", "it's", "{x}", "[y]", "a,b", "a:b", "#c", "€", "<b>", "a=b", "missing"]


def spreadsheet():
    "What a German spreadsheet writes: cp1252, semicolons, decimal commas, an index without a name, three forms of days."
    random = np.random.default_rng(2)
    table = pd.DataFrame({name: random.normal(0, 1, ROWS) for name in ODD})
    table["Ort"] = random.choice(["Köln", "Zürich", "Málaga", "NA?"], ROWS)
    table["ja"] = random.choice(["yes", "no"], ROWS)
    table["wahr"] = random.choice([True, False], ROWS)
    table["Alter"] = np.where(np.arange(ROWS) % 7 == 0, -999, random.integers(18, 90, ROWS))
    days = pd.Series(pd.date_range("2025-01-01", periods=ROWS))
    table["iso"], table["deutsch"], table["us"] = (
        days.dt.strftime(f) for f in ("%Y-%m-%d", "%d.%m.%Y", "%m/%d/%y")
    )
    return table.assign(teuer=table["Größe"] + random.normal(0, 1, ROWS) > 0)


@pytest.fixture(scope="module")
def german(tmp_path_factory):
    folder = tmp_path_factory.mktemp("german")
    spreadsheet().to_csv(folder / "t.csv.gz", sep=";", decimal=",", encoding="cp1252")
    words = ["new", "odd", "--data", "t.csv.gz", "--target", "teuer", "--yes", "--time", "none"]
    words += [
        "--read-as",
        "missing",
        "-999, 'NA?'",
        "--read-as",
        "dates",
        "iso ISO8601 deutsch %d.%m.%Y us %m/%d/%y",
    ]
    with contextlib.chdir(folder):
        done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert "read with encoding = cp1252, separator = ;, decimal = ," in done.output
    return read_project(folder / "odd")


def test_a_spreadsheet_is_read_as_its_author_meant_it_to_the_bit(german):
    read, dataset = read_dataset(german, "odd")
    wanted = spreadsheet()
    wanted["Ort"] = wanted["Ort"].replace("NA?", None)
    wanted["Alter"] = wanted["Alter"].replace(-999, np.nan)
    wanted["deutsch"] = wanted["us"] = wanted["iso"] = pd.to_datetime(wanted["iso"]).astype(read["iso"].dtype)
    pd.testing.assert_frame_equal(read.drop(columns="Unnamed: 0"), wanted, check_exact=True)
    assert read["deutsch"].equals(wanted["iso"]) and read["us"].equals(wanted["iso"])
    assert set(dataset.reading) == {"encoding", "separator", "decimal", "missing", "dates"}


def test_the_spreadsheets_own_words_are_asked_in_each_format_and_lightgbm_says_the_answer(german, tmp_path):
    trained = run_cells(german, "train")
    bundle, booster, learned = trained["bundle"], trained["booster"], trained["training"].rows
    told = {column.name: column for column in bundle.signature.inputs}
    assert (
        told["Alter"].missing
        and told["Alter"].words == ("-999", "NA?")
        and {*ODD, "Ort", "ja", "wahr"} <= set(told)
    )
    client = create_app(Service(Options(save_bundle(bundle, tmp_path)))).test_client()
    rows = spreadsheet()[list(told)].head(50)
    asked = rows.to_dict("records")
    [labels] = [bundle.matrix(frame_columns(bundle.signature, rows))]
    wanted = booster.predict(labels, num_threads=1).tolist()
    assert (rows["Alter"] == -999).any() and (rows["Ort"] == "NA?").any() and len(set(wanted)) > 10
    train = np.asarray(booster.predict(learned.matrix[:5], num_threads=1))
    assert (
        train.tolist()
        == bundle.predict({name: cells[:5] for name, cells in learned.columns.items()}).tolist()
    )
    for media_type, body_of in BODIES.items():
        headers = {"Content-Type": media_type, "Accept": "application/json"}
        answer = client.post("/predict", data=body_of(asked), headers=headers)
        assert answer.status_code == 200, answer.data[:1000]
        assert answer.json["predictions"] == wanted, media_type


@pytest.mark.parametrize(
    "text, said",
    [
        ("a;b;a\n1;2;3\n" * 30, "columns of one name: 'a' (2 columns)"),
        ("a;b\n1;2\n", "has 1 row"),
        ("a;b\n" + ";2\n" * 30, "the target 'a' is missing in all rows"),
        ("a;b\n" + "1;2;3\n" * 30, "more cells than the first line has names"),
    ],
)
def test_a_table_that_nothing_can_be_made_of_is_refused_in_a_sentence(tmp_path, text, said):
    (tmp_path / "t.csv").write_text(text, encoding="utf-16")
    with contextlib.chdir(tmp_path):
        done = CliRunner().invoke(main, ["new", "odd", "--data", "t.csv", "--target", "a", "--yes"])
    assert done.exit_code in (2, 3) and said in done.stderr and not (tmp_path / "odd").exists()


def test_all_columns_that_no_request_can_carry_are_one_list_before_training():
    table = hostile_table()
    with pytest.raises(WrongType) as refused:
        infer_signature(table, Output("x", "value"))
    said = str(refused.value)
    wrong = {"account", "endless", "comment", "list"}
    assert all(repr(name) in said for name in {*wrong, *UNSENDABLE}), said
    assert "for 5 reasons" in said and all(repr(name) not in said for name in NAMES)
    told = infer_signature(
        table.drop(columns=[*(wrong - {"comment"}), *UNSENDABLE, 'the "answer"?']),
        Output("x", "value"),
        types={"comment": "text", "german day": "text", "iso day": "time"},
    )
    assert {c.name: c.type for c in told.inputs if c.type in ("text", "time", "boolean")} == {
        "comment": "text", "german day": "text", "iso day": "time", "true or missing": "boolean",
    }  # fmt: skip
