"Times, free text and decimals through the whole line: the feature step makes numbers of them, in training and in each format of requests alike."

import datetime
import io
import json
from decimal import Decimal

import lightgbm
import numpy as np
import openapi_spec_validator
import pandas as pd
import pyarrow
import pytest

from mlkit.errors import WrongType
from mlkit.model.bundle import make_bundle, open_folder
from mlkit.model.features import encode, fit_features
from mlkit.model.signature import Output, frame_columns, infer_signature
from mlkit.monitoring.compaction import compact
from mlkit.monitoring.predictions import read_predictions
from mlkit.serve.app import create_app
from mlkit.serve.logs.predictions import PredictionLog, Recorder
from mlkit.serve.options import Options
from mlkit.serve.service import Service
from mlkit.testing import prediction_id, save_bundle, store_with_model

ROWS = 300
TYPES = {"comment": "text", "written": "time"}


def visits():
    random = np.random.default_rng(3)
    moments = pd.Series(
        pd.to_datetime("2025-01-01") + pd.to_timedelta(random.integers(0, 400 * 86400, ROWS), "s")
    )
    table = pd.DataFrame(
        {
            "came": moments.dt.as_unit("us"),
            "abroad": moments.dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"),
        }
    )
    table["day"] = moments.dt.date
    table["written"] = moments.dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    table["paid"] = [Decimal(int(cents)) / 100 for cents in random.integers(0, 10_000, ROWS)]
    table["comment"] = [f'"Visit" no. {n}: {"good, " * (n % 5)}größe 😀' for n in range(ROWS)]
    table.loc[::10, ["came", "comment"]] = None
    return table


def features(columns):
    def hour(moments):
        seconds = (moments - np.datetime64("1970-01-01", "us")).astype("timedelta64[s]").astype(float)
        return np.where(np.isnat(moments), np.nan, seconds % 86400 / 3600)

    length = [np.nan if text is None else float(len(text)) for text in columns["comment"]]
    made = {f"hour of {name}": hour(columns[name]) for name in ("came", "abroad", "written")}
    month = columns["day"].astype("datetime64[M]").astype(int) % 12
    return {**made, "month": month.astype(float), "length": np.array(length), "paid": columns["paid"]}


@pytest.fixture(scope="module")
def made():
    table = visits()
    signature = infer_signature(table, Output("again", "probability"), types=TYPES)
    columns = frame_columns(signature, table)
    stepped = features(columns)
    matrix = encode(fit_features(stepped), stepped)
    again = (stepped["hour of abroad"] > 12) | (stepped["paid"] > 50)
    settings = {"objective": "binary", "num_threads": 1, "verbose": -1, "min_data_in_leaf": 5}
    booster = lightgbm.train(settings, lightgbm.Dataset(matrix, again, params={"verbose": -1}), 10)
    return make_bundle("visits", "lightgbm", booster, signature, columns, features), booster


@pytest.fixture
def client(made, tmp_path):
    service = Service(Options(save_bundle(made[0], tmp_path / "model")))
    return create_app(service).test_client()


def asked_by_lightgbm(booster, rows):
    "What pandas and LightGBM make of the rows, without anything of ours."

    moments = [rows["came"], rows["abroad"].dt.tz_convert("UTC"), pd.to_datetime(rows["written"])]
    matrix = pd.DataFrame(
        {
            f"hour {n}": [
                np.nan if pd.isna(m) else (m.hour * 3600 + m.minute * 60 + m.second) / 3600 for m in each
            ]
            for n, each in enumerate(moments)
        }
    )
    matrix["month"] = pd.to_datetime(rows["day"]).dt.month - 1.0
    matrix["length"] = (
        rows["comment"]
        .map(lambda text: np.nan if text is None or text != text else len(text))
        .astype(float)
        .to_numpy()
    )
    matrix["paid"] = rows["paid"].astype(float).to_numpy()
    return booster.predict(matrix.to_numpy(float), num_threads=1).tolist()


def as_json_rows(rows):
    "As pandas writes them."
    texts = rows.assign(day=rows["day"].astype(str), paid=rows["paid"].astype(float))
    return json.loads(texts.to_json(orient="records", date_format="iso", double_precision=15))


def as_arrow(rows):
    table = pyarrow.Table.from_pandas(rows, preserve_index=False)
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    assert {"decimal128", "date32", "timestamp"} <= {
        str(kind).split("[")[0].split("(")[0] for kind in table.schema.types
    }
    return sink.getvalue().to_pybytes()


BODIES = {
    "application/json": lambda rows: json.dumps({"rows": as_json_rows(rows)}).encode(),
    "application/x-ndjson": lambda rows: b"".join(
        json.dumps(row).encode() + b"\n" for row in as_json_rows(rows)
    ),
    "text/csv": lambda rows: rows.to_csv(index=False).encode(),
    "application/vnd.apache.arrow.stream": as_arrow,
}


@pytest.mark.parametrize("media_type", BODIES)
def test_what_pandas_and_pyarrow_write_is_answered_as_lightgbm_does(made, client, media_type):
    rows = visits().head(60)
    headers = {"Content-Type": media_type, "Accept": "application/json"}
    answer = client.post("/predict", data=BODIES[media_type](rows), headers=headers)
    assert answer.status_code == 200, answer.data[:1000]
    wanted = asked_by_lightgbm(made[1], rows)
    assert answer.json["predictions"] == wanted and len(set(wanted)) > 5


def test_golden_rows_hold_times_and_text_and_are_exact_when_the_bundle_is_opened_again(made, tmp_path):
    bundle = open_folder(save_bundle(made[0], tmp_path))
    bundle.verify_golden_rows()
    row = bundle.golden["rows"][1]
    assert datetime.datetime.fromisoformat(row["came"]) and row["comment"].startswith('"Visit"')
    assert bundle.digest == made[0].digest


@pytest.mark.parametrize(
    "change, said",
    [
        ({"abroad": "31.01.2026"}, "'31.01.2026' is not a time"),
        ({"abroad": 1769900000}, "a number where a string is expected"),
        ({"abroad": "2026-02-30"}, "'2026-02-30' is not a time"),
        ({"abroad": None}, "missing"),
        ({"comment": 7}, "a number where a string is expected"),
    ],
)
def test_what_is_no_time_and_no_text_is_refused_by_name(client, made, change, said):
    row = made[0].golden["rows"][1] | change
    for media_type, body in (
        ("application/json", json.dumps({"rows": [row]})),
        ("application/json", json.dumps({"columns": {name: [cell] for name, cell in row.items()}})),
        ("application/x-ndjson", json.dumps(row) + "\n"),
    ):
        answer = client.post("/predict", data=body, headers={"Content-Type": media_type})
        [problem] = answer.json["problems"]
        assert answer.status_code == 400 and problem["column"] in change and said in problem["problem"]


def test_arrow_refuses_what_would_lose_digits_or_is_another_type(client, made):
    rows = visits().head(3)
    for wrong, said in (
        (rows.assign(abroad=pd.to_datetime(["2026-01-01T00:00:00.000000001"] * 3)), "parts of a microsecond"),
        (rows.assign(abroad=[1, 2, 3]), "int64 where"),
    ):
        table = pyarrow.Table.from_pandas(wrong, preserve_index=False)
        sink = io.BytesIO()
        with pyarrow.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        headers = {"Content-Type": "application/vnd.apache.arrow.stream", "Accept": "application/json"}
        answer = client.post("/predict", data=sink.getvalue(), headers=headers)
        assert answer.status_code == 400 and said in answer.json["problems"][0]["problem"], answer.json


def test_the_document_and_the_page_say_how_a_time_is_sent(client, made):
    document = client.get("/openapi.json").json
    openapi_spec_validator.validate(document)
    assert "2013-10-01T12:30:00Z" in json.dumps(document)
    page = client.get("/").text
    assert 'data-kind="text"' in page and "2025-" in page
    row = made[0].golden["rows"][1]
    fields = {f"c{n}": row[column.name] for n, column in enumerate(made[0].signature.inputs)}
    answer = client.post("/", data=fields)
    assert answer.status_code == 200 and "Probability of" in answer.text


def test_free_text_and_times_are_refused_where_no_step_makes_numbers_of_them(made):
    table = visits()[["comment", "paid"]].fillna("none")
    signature = infer_signature(table, Output("again", "probability"), types={"comment": "text"})
    columns = frame_columns(signature, table)
    matrix = encode(fit_features(columns), columns)
    booster = lightgbm.train(
        {"verbose": -1}, lightgbm.Dataset(matrix, np.arange(ROWS), params={"verbose": -1}), 2
    )
    with pytest.raises(WrongType, match="'comment' is free text, and no feature step"):
        make_bundle("visits", "lightgbm", booster, signature, columns)


def test_what_was_asked_is_logged_and_compacted_to_the_microsecond(made, tmp_path):
    bundle = made[0]
    store, log = store_with_model(bundle.digest, bundle.signature), PredictionLog(tmp_path)
    recorder = Recorder(bundle.signature, bundle.digest, "visits-1")
    rows = bundle.golden["rows"][:4]
    columns = bundle.signature.columns(rows)
    log.write(
        recorder.of_json(prediction_id(1, bundle.digest), json.dumps({"rows": rows}).encode(), b"[1,2,3,4]")
    )
    log.write(recorder.of_columns(prediction_id(2, bundle.digest), columns, b"[1,2,3,4]"))
    log.finish()
    assert compact(store, tmp_path, "flights").predictions == 8
    table = read_predictions(store, "flights")
    for part in table.iloc[:4], table.iloc[4:]:
        for name in ("came", "abroad", "day", "written"):
            assert part[name].to_numpy("datetime64[us]").tolist() == columns[name].tolist(), name
        assert (
            part["comment"].astype(object).where(part["comment"].notna(), None).tolist()
            == columns["comment"].tolist()
        )
