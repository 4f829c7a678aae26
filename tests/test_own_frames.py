"""Whatever DataFrame a person trains on: the bundle answers as their booster answers their frame, or is refused by name.

The judge is LightGBM's own `predict` on the person's own frame.
"""

import json
import string

import hypothesis.strategies as st
import lightgbm
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings

from mlkit.errors import SignatureMismatch, WrongType
from mlkit.model.bundle import make_bundle, open_bundle
from mlkit.model.features import encode, fit_features
from mlkit.model.signature import Output, frame_columns, infer_signature, json_rows
from mlkit.serve.predictor import Negotiation, Predictor

PRICE = Output("price", "value")
QUICK = {
    "objective": "regression",
    "verbose": -1,
    "num_threads": 1,
    "min_data_in_leaf": 2,
    "min_data_per_group": 2,
}


def train(inputs, target, trees=8):
    return lightgbm.train(
        QUICK | {"cat_smooth": 1}, lightgbm.Dataset(inputs, target, params={"verbose": -1}), trees
    )


def shop(seed=1, rows=300):
    random = np.random.default_rng(seed)
    size = random.choice(["small", "medium", "large"], rows)
    weight = random.normal(size=rows)
    price = pd.Series(size).map({"small": 1, "medium": 5, "large": 9}).to_numpy() + weight
    return pd.DataFrame({"weight": weight, "size": size}), price


def assert_answers_as(booster, inputs, bundle, signature):
    "By every way to the model: in memory, opened again, and as JSON over the predictor."
    wanted = booster.predict(inputs)
    columns = frame_columns(signature, inputs)
    assert bundle.predict(columns).tobytes() == wanted.tobytes()
    again = open_bundle(bundle.files.__getitem__, "here", bundle.digest)
    rows = json_rows(signature, columns)
    body = json.dumps({"rows": rows}).encode()
    predictor = Predictor(again)
    assert json.loads(predictor.answer(body).body)["predictions"] == wanted.tolist()
    for row in range(0, len(rows), max(1, len(rows) // 7)):  # one row may take a shortcut
        one = json.dumps({"rows": [rows[row]]}).encode()
        assert json.loads(predictor.answer(one, Negotiation()).body)["predictions"] == [wanted[row]]


def test_ordered_categories_keep_the_order_that_the_model_was_trained_with():
    rows, price = shop()
    inputs = rows.assign(size=pd.Categorical(rows["size"], ["small", "medium", "large"], ordered=True))
    booster = train(inputs, price)
    signature = infer_signature(inputs, PRICE)
    bundle = make_bundle("shop", "lightgbm", booster, signature, frame_columns(signature, inputs))
    assert_answers_as(booster, inputs, bundle, signature)


def test_columns_in_another_order_than_the_model_s_are_asked_in_the_model_s():
    rows, price = shop()
    inputs = rows.assign(size=rows["size"].astype("category"))
    booster = train(inputs, price)
    signature = infer_signature(inputs[["size", "weight"]], PRICE)
    bundle = make_bundle("shop", "lightgbm", booster, signature, frame_columns(signature, inputs))
    assert_answers_as(booster, inputs, bundle, signature)


def test_names_that_lightgbm_rewrites():
    rows, price = shop()
    inputs = rows.rename(columns={"weight": "weight in kg", "size": "shirt size"}).astype(
        {"shirt size": "category"}
    )
    booster = train(inputs, price)
    assert booster.feature_name() == ["weight_in_kg", "shirt_size"]
    signature = infer_signature(inputs, PRICE)
    bundle = make_bundle("shop", "lightgbm", booster, signature, frame_columns(signature, inputs))
    assert_answers_as(booster, inputs, bundle, signature)


def test_codes_made_by_hand_need_the_model_s_own_answers():
    rows, price = shop()
    codes = rows["size"].map({"small": 0, "medium": 1, "large": 2})
    matrix = np.column_stack([rows["weight"], codes])
    booster = train(matrix, price)
    signature = infer_signature(rows, PRICE)
    columns = frame_columns(signature, rows)
    with pytest.raises(WrongType, match="the bundle answers row .* look at 'size'|the bundle answers row"):
        make_bundle("shop", "lightgbm", booster, signature, columns, predictions=booster.predict(matrix))


def test_rows_that_lack_a_level_do_not_shift_the_codes_of_encode():
    rows, price = shop()
    signature = infer_signature(rows, PRICE)
    columns = frame_columns(signature, rows)
    features = fit_features(columns)
    booster = train(encode(features, columns), price)
    few = rows[rows["size"] != "large"].head(50)
    bundle = make_bundle("shop", "lightgbm", booster, signature, frame_columns(signature, few))
    assert bundle.predict(columns).tobytes() == booster.predict(encode(features, columns)).tobytes()


def test_a_model_of_other_columns_is_refused_by_name():
    rows, price = shop()
    inputs = rows.assign(size=rows["size"].astype("category"))
    booster = train(inputs, price)
    renamed = inputs.rename(columns={"weight": "mass"})
    signature = infer_signature(renamed, PRICE)
    with pytest.raises(WrongType, match="the model has a feature 'weight'"):
        make_bundle("shop", "lightgbm", booster, signature, frame_columns(signature, renamed))


# Random frames -------------------------------------------------------------------------------------------------

NUMBERS = st.one_of(
    st.floats(allow_nan=True, allow_infinity=False, width=32),
    st.sampled_from([0.0, -0.0, 1e300, -1e300, 5e-324, 1e-36, float("nan")]),
)
TEXTS = st.text(string.ascii_letters + " éß{}[]\"',:", max_size=6)
NAMES = st.text(string.ascii_letters + " _é-.", min_size=1, max_size=8)
ROWS = 24


@st.composite
def a_column(draw):
    kind = draw(
        st.sampled_from(
            [
                "float",
                "float32",
                "int",
                "Int64",
                "bool",
                "boolean",
                "arrow",
                "Float64",
                "category",
                "ints",
                "bools",
            ]
        )
    )
    if kind in ("category", "ints", "bools"):
        levels = {
            "category": st.lists(TEXTS, min_size=1, max_size=5, unique=True),
            "ints": st.lists(st.integers(-3, 9), min_size=1, max_size=4, unique=True),
            "bools": st.permutations([True, False]),
        }[kind]
        levels = draw(levels)
        cells = draw(st.lists(st.sampled_from([*levels, None]), min_size=ROWS, max_size=ROWS))
        return pd.Categorical(cells, levels, ordered=draw(st.booleans()))
    if kind in ("int", "Int64", "arrow"):
        cells = draw(st.lists(st.integers(-(2**40), 2**40), min_size=ROWS, max_size=ROWS))
        holes = [None if draw(st.booleans()) and kind != "int" else cell for cell in cells]
        return pd.array(holes, {"int": "int64", "Int64": "Int64", "arrow": "int64[pyarrow]"}[kind])
    if kind in ("bool", "boolean"):
        cells = draw(
            st.lists(
                st.booleans() if kind == "bool" else st.sampled_from([True, False, None]),
                min_size=ROWS,
                max_size=ROWS,
            )
        )
        return pd.array(cells, kind)
    cells = draw(st.lists(NUMBERS, min_size=ROWS, max_size=ROWS))
    return pd.array(np.array(cells), {"float": "float64", "float32": "float32", "Float64": "Float64"}[kind])


@st.composite
def a_frame(draw):
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    return pd.DataFrame({name: draw(a_column()) for name in names})


@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(a_frame(), st.randoms(use_true_random=False))
def test_any_frame_is_answered_as_its_booster_answers_or_refused(frame, random):
    target = np.array([random.random() for _ in range(len(frame))])
    try:
        booster = train(frame, target, trees=3)
    except (lightgbm.basic.LightGBMError, ValueError, TypeError):
        return  # LightGBM itself does not take it
    shuffled = frame[random.sample(list(frame), len(frame.columns))]
    try:
        signature = infer_signature(shuffled, PRICE)
        bundle = make_bundle("any", "lightgbm", booster, signature, frame_columns(signature, shuffled))
    except (WrongType, SignatureMismatch) as refused:
        assert any(repr(name)[1:-1] in str(refused) for name in frame) or "categories" in str(refused), (
            refused
        )
        return
    assert_answers_as(booster, frame, bundle, signature)
