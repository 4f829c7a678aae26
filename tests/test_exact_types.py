"Ids that are carried along, and levels that are whole numbers or true and false: to the last digit in each format, asked by stock clients."

import csv
import io
import json

import lightgbm
import numpy as np
import pandas as pd
import pyarrow
import pytest

from mlkit.errors import WrongType
from mlkit.model.bundle import make_bundle, open_folder
from mlkit.model.features import step_source
from mlkit.model.signature import frame_columns, json_rows
from mlkit.model.training import make_training
from mlkit.monitoring.compaction import compact
from mlkit.monitoring.predictions import read_predictions
from mlkit.serve.app import create_app
from mlkit.serve.logs.predictions import PredictionLog, Recorder
from mlkit.serve.options import Options
from mlkit.serve.service import Service
from mlkit.testing import prediction_id, save_bundle, store_with_model

ROWS = 300
IDS = ["account", "order, of \u00a0whom"]
JSON, NDJSON, CSV, ARROW = (
    *("application/json", "application/x-ndjson", "text/csv"),
    "application/vnd.apache.arrow.stream",
)
FLOAT64 = "application/vnd.mlkit.float64"


def orders():
    random = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "account": 2**53 + 1 + np.arange(ROWS),
            IDS[1]: [f'00{n}, "NA" ;😀' if n else "NA" for n in range(ROWS)],
            "grade": pd.Categorical(random.integers(1, 12, ROWS), range(13)),
            "abroad": pd.Categorical(random.random(ROWS) < 0.5),
            "floor": pd.Categorical(
                np.where(random.random(ROWS) < 0.2, np.nan, random.integers(-2, 3, ROWS))
            ),
            "paid": random.random(ROWS) < 0.5,
            "price": random.normal(0, 1, ROWS),
        }
    )


@pytest.fixture(scope="module")
def made():
    "A model that LightGBM trained on the frame as it is: the levels and their codes are its own."
    table = orders()
    late = pd.Series(
        (table["grade"].astype(int) % 3 == 0) | (table["abroad"].astype(bool) & (table["price"] > 0)),
        name="late",
    ).astype(float)
    training = make_training(table, late, "probability", carried=IDS)
    settings = {"n_estimators": 20, "min_child_samples": 5, "min_data_per_group": 5, "verbose": -1}
    model = lightgbm.LGBMClassifier(**settings).fit(table.drop(columns=IDS), late)
    return make_bundle("orders", "lightgbm", model, training.signature, training.rows.columns), model


@pytest.fixture
def client(made, tmp_path):
    return create_app(Service(Options(save_bundle(made[0], tmp_path / "model")))).test_client()


def to_arrow(table):
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def to_csv(rows):
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def read_answer(kind, body):
    "What a stock client sees: the predictions, and the ids by name."
    if kind == JSON:
        told = json.loads(body)
        return told["predictions"], told.get("carried", {})
    if kind == NDJSON:
        lines = [json.loads(line) for line in body.splitlines()]
        ids = {name: [line["carried"][name] for line in lines] for name in lines[0].get("carried", {})}
        return [line["prediction"] for line in lines], ids
    if kind == CSV:
        rows = list(csv.DictReader(io.StringIO(body.decode(), newline="")))
        ids = {name: [row[name] for row in rows] for name in rows[0] if name != "prediction"}
        return [float(row["prediction"]) for row in rows], ids
    table = pyarrow.ipc.open_stream(body).read_all().to_pydict()
    return table.pop("prediction"), table


BODIES = {
    JSON: lambda frame, rows: json.dumps({"rows": rows}).encode(),
    NDJSON: lambda frame, rows: b"".join(json.dumps(row).encode() + b"\n" for row in rows),
    CSV: lambda frame, rows: to_csv(rows),
    ARROW: lambda frame, rows: to_arrow(pyarrow.Table.from_pandas(frame, preserve_index=False)),
}


@pytest.mark.parametrize("asked", BODIES)
@pytest.mark.parametrize("wanted", BODIES)
def test_ids_come_back_to_the_digit_and_levels_are_the_librarys_own(made, client, asked, wanted):
    bundle, model = made
    frame = orders().head(40)
    rows = json_rows(bundle.signature, frame_columns(bundle.signature, frame))
    headers = {"Content-Type": asked, "Accept": wanted}
    answer = client.post("/predict", data=BODIES[asked](frame, rows), headers=headers)
    assert answer.status_code == 200, answer.data
    predictions, ids = read_answer(wanted, answer.data)
    assert predictions == model.predict_proba(frame.drop(columns=IDS))[:, 1].tolist()
    sent = {name: frame[name].tolist() for name in IDS}
    assert ids == (sent | {"account": list(map(str, sent["account"]))} if wanted == CSV else sent)


def test_an_id_that_nobody_sent_is_in_no_answer_and_one_of_some_rows_is_empty_elsewhere(made, client):
    rows = [{k: row[k] for k in row if k not in IDS} for row in made[0].golden["rows"][:2]]
    for kind in BODIES:
        answer = client.post("/predict", json={"rows": rows}, headers={"Accept": kind})
        assert read_answer(kind, answer.data) == (made[0].golden["predictions"][:2], {})
    rows[1]["account"] = -(2**63)
    seen = [
        read_answer(kind, client.post("/predict", json={"rows": rows}, headers={"Accept": kind}).data)[1]
        for kind in BODIES
    ]
    assert seen == [{"account": [None, -(2**63)]}] * 2 + [
        {"account": ["", str(-(2**63))]},
        {"account": [None, -(2**63)]},
    ]


def test_golden_rows_hold_no_ids_and_have_levels_as_a_client_sends_them(made, client, tmp_path):
    golden = made[0].golden["rows"]
    assert all(not row.keys() & set(IDS) for row in golden)
    assert {type(row["grade"]) for row in golden} == {int} and {type(row["abroad"]) for row in golden} == {
        bool
    }
    opened = open_folder(save_bundle(made[0], tmp_path / "again"))
    assert opened.digest == made[0].digest and opened.features[0].levels == tuple(range(13))
    row = client.get("/openapi.json").json["components"]["schemas"]["Row"]
    assert row["properties"]["grade"]["enum"] == list(range(13)) and "account" not in row["required"]
    assert row["properties"]["account"]["format"] == "int64"
    page = client.get("/")
    assert page.status_code == 200 and b"account" not in page.data and b"grade" in page.data


WRONG = {
    ("grade", JSON): [(1.5, "is not a whole number"), ("yes", "text where a whole number"), (True, "true or false where"), (77, "unseen level 77")],
    ("grade", CSV): [(1.5, "where a whole number is expected"), ("yes", "where a whole number is expected"), (77, "unseen level 77")],
    ("grade", ARROW): [(1.5, "is not a whole number"), ("yes", "string where a type of whole numbers"), (77, "unseen level 77")],
    ("abroad", JSON): [(1, "a number where true or false"), ("yes", "text where true or false")],
    ("abroad", CSV): [("yes", "where true or false is expected"), (2, "where true or false is expected")],
    ("abroad", ARROW): [(1, "int64 where bool is expected"), ("yes", "string where bool is expected")],
    ("paid", CSV): [("yes", "where true or false is expected")],
    ("paid", ARROW): [("yes", "string where bool is expected")],
    ("account", JSON): [(2**63, "beyond 64 bits"), (1.5, "is not a whole number"), (2.0**53, "would lose digits")],
    ("account", CSV): [(2**63, "beyond 64 bits"), ("1.5", "where a whole number"), ("9007199254740993.0", "where a whole number")],
    ("account", ARROW): [(2.0**53, "would lose digits"), ("7", "string where a type of whole numbers")],
    (IDS[1], JSON): [(7, "a number where a string is expected")],
    (IDS[1], ARROW): [(7, "int64 where string")],
}  # fmt: skip


@pytest.mark.parametrize("name, kind", WRONG)
def test_a_cell_that_is_none_is_refused_with_what_would_be(made, client, name, kind):
    for cell, words in WRONG[name, kind]:
        rows = [made[0].golden["rows"][0] | {name: cell}]
        body = to_arrow(pyarrow.Table.from_pylist(rows)) if kind == ARROW else BODIES[kind](None, rows)
        answer = client.post("/predict", data=body, headers={"Content-Type": kind})
        assert answer.status_code == 400, (cell, answer.data)
        [problem] = answer.json["problems"]
        assert problem["column"] == name and words in problem["problem"] and problem["expected"], (
            cell,
            problem,
        )


def test_whole_numbers_in_other_types_of_arrow_are_the_same(made, client):
    "What polars, a database or pandas with missing values make of them."
    frame = orders().head(20)
    rows = json_rows(made[0].signature, frame_columns(made[0].signature, frame))
    table = pyarrow.Table.from_pylist(rows)
    for types in ({"grade": pyarrow.uint8(), "floor": pyarrow.float64()}, {"account": pyarrow.uint64()}):
        other = table.cast(pyarrow.schema([(f.name, types.get(f.name, f.type)) for f in table.schema]))
        answer = client.post(
            "/predict", data=to_arrow(other), headers={"Content-Type": ARROW, "Accept": JSON}
        )
        assert answer.status_code == 200, answer.data
        assert answer.json["carried"]["account"] == frame["account"].tolist()
        assert answer.json["predictions"] == made[1].predict_proba(frame.drop(columns=IDS))[:, 1].tolist()


def test_the_log_and_its_tables_keep_ids_and_levels(made, tmp_path):
    bundle = made[0]
    store = store_with_model(bundle.digest, bundle.signature)
    log, recorder = PredictionLog(tmp_path / "log"), Recorder(bundle.signature, bundle.digest, "orders-1")
    frame = orders().head(3)
    columns = frame_columns(bundle.signature, frame)
    log.write(recorder.of_columns(prediction_id(1, bundle.digest), columns, b"[0.1,0.2,0.3]"))
    without = bundle.signature.without_carried(columns)
    log.write(recorder.of_columns(prediction_id(2, bundle.digest), without, b"[0.4,0.5,0.6]"))
    log.finish()
    compact(store, tmp_path / "log", "flights")
    kept = read_predictions(store, "flights")
    assert kept["account"].tolist()[:3] == frame["account"].tolist() and kept["account"].isna().sum() == 3
    assert kept[IDS[1]].tolist()[:3] == frame[IDS[1]].tolist()
    assert kept["grade"].tolist()[:3] == frame["grade"].tolist()
    assert kept["abroad"].tolist()[:3] == frame["abroad"].tolist()


def features(columns):
    return {"even": np.array([float(grade % 2) for grade in columns["grade"]]), "price": columns["price"]}


def test_a_feature_step_gets_whole_numbers_and_never_an_id():
    table = orders()[[*IDS, "grade", "price"]]
    training = make_training(
        table,
        pd.Series(table["price"] > 0, name="up").astype(float),
        "probability",
        carried=IDS,
        step=features,
    )
    bundle = make_bundle(
        "orders",
        "lightgbm",
        training.booster(lightgbm.LGBMClassifier(n_estimators=3, verbose=-1)),
        training.signature,
        training.rows.columns,
        features,
    )
    assert [feature.name for feature in bundle.features] == [
        "even",
        "price",
    ] and "account" not in step_source(features)

    def features_of_ids(columns):
        return {"n": columns["account"].astype(float)}

    features_of_ids.__name__ = "features"
    with pytest.raises(KeyError, match="account"):
        make_training(table, table["price"].rename("p"), "value", carried=IDS, step=features_of_ids)


def test_raw_numbers_are_those_that_the_model_is_asked_with(tmp_path):
    table = orders()[["account", "paid", "price"]]
    training = make_training(table, table["price"].rename("p"), "value", carried="account")
    bundle = make_bundle(
        "orders",
        "lightgbm",
        training.booster({"objective": "l2", "verbose": -1}),
        training.signature,
        training.rows.columns,
    )
    client = create_app(Service(Options(save_bundle(bundle, tmp_path / "model")))).test_client()
    body = table[["paid", "price"]].head(5).to_numpy(float).astype("<f8").tobytes()
    answer = client.post("/predict", data=body, headers={"Content-Type": FLOAT64, "Accept": JSON})
    assert answer.status_code == 200 and "carried" not in answer.json
    assert (
        answer.json["predictions"] == bundle.predict(frame_columns(bundle.signature, table.head(5))).tolist()
    )


def test_levels_with_a_fraction_are_refused_before_training():
    table = orders().assign(grade=pd.Categorical([0.5, 1] * (ROWS // 2)))
    with pytest.raises(WrongType, match="a level is text, a whole number up to 2\\^53, or true or false"):
        make_training(table, table["price"].rename("p"), "value", carried=IDS)
