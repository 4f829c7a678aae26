"""The one model that every server serves, and the bodies that it is asked with. Made once and kept in the cache.

500 trees with 63 leaves on 30 numeric and 3 categorical features, binary. The levels are coded before LightGBM sees them:
pandas' own categories would cost each server with a DataFrame 2 to 3 ms a request, and us nothing.

    bundle/            the model as mlkit serves it
    model.txt          the same trees for the others
    columns.json       {"numbers": [...], "categories": {name: levels}}, in the order of the matrix
    bodies/rows-100    one body a line, in each request format and size
    matrix-100.npy     the same rows as the model sees them, for the bare C call
"""

import hashlib
import json
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
from formats import FORMATS, matrix

from mlkit.model.bundle import make_bundle
from mlkit.model.signature import Output, frame_columns, infer_signature

CACHE = Path("~/.cache/mlkit/bench-serve").expanduser()
NUMBERS = [f"number_{i:02}" for i in range(30)]  # the first 20 fractions, the others whole
LEVELS = {  # in alphabetical order, as mlkit codes them
    "carrier": [f"carrier {i:02}" for i in range(12)],
    "origin": ["EWR", "JFK", "LGA"],
    "weekday": ["Fri", "Mon", "Sat", "Sun", "Thu", "Tue", "Wed"],
}
COLUMNS = {"numbers": NUMBERS, "categories": LEVELS}
BODIES = {1: 4000, 100: 60, 1000: 24}  # rows a body: how many different bodies
TRAINED, MISSING = 40_000, 0.05
PARAMETERS = {
    "objective": "binary",
    "num_leaves": 63,
    "learning_rate": 0.05,
    "num_threads": 1,
    "seed": 1,
    "deterministic": True,
    "verbose": -1,
}


def made_model() -> Path:
    "The folder of the model and its bodies; made if this code has not made it before."
    sources = b"".join((Path(__file__).parent / name).read_bytes() for name in ("model.py", "formats.py"))
    folder = CACHE / hashlib.sha256(sources).hexdigest()[:12]
    if not (folder / "ready").exists():
        (folder / "bodies").mkdir(parents=True, exist_ok=True)
        (folder / "bundle").mkdir(exist_ok=True)
        write_model(folder)
        write_bodies(folder)
        (folder / "ready").touch()
    return folder


def write_model(folder: Path) -> None:
    frame = holes(random_rows(TRAINED, seed=1))
    data = lightgbm.Dataset(
        matrix(frame.to_dict("records"), COLUMNS),
        outcome(frame, seed=2),
        feature_name=[*NUMBERS, *LEVELS],
        categorical_feature=list(LEVELS),
    )
    booster = lightgbm.train(PARAMETERS, data, num_boost_round=500)
    signature = infer_signature(frame, Output("late", "probability"), unseen={"carrier": "missing"})
    bundle = make_bundle("bench", "lightgbm", booster, signature, frame_columns(signature, frame))
    for name, data in bundle.files.items():
        (folder / "bundle" / name).write_bytes(data)
    booster.save_model(folder / "model.txt")
    (folder / "columns.json").write_text(json.dumps(COLUMNS))


def write_bodies(folder: Path) -> None:
    "Nothing is missing in them: half of the peers cannot answer a row with a null, see answers.py."
    for rows, count in BODIES.items():
        records = random_rows(rows * count, seed=rows + 2).to_dict("records")
        np.save(folder / f"matrix-{rows}.npy", matrix(records, COLUMNS))
        batches = [records[i : i + rows] for i in range(0, len(records), rows)]
        for name, form in FORMATS.items():
            lines = [form.body(batch, COLUMNS) + b"\n" for batch in batches]
            (folder / "bodies" / f"{name}-{rows}").write_bytes(b"".join(lines))


def random_rows(count: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    numbers = {name: random.normal(0, 10, count).round(4) for name in NUMBERS[:20]}
    numbers |= {name: random.integers(0, 1000, count) for name in NUMBERS[20:]}
    return pd.DataFrame(numbers | {name: random.choice(levels, count) for name, levels in LEVELS.items()})


def holes(frame: pd.DataFrame) -> pd.DataFrame:
    "Missing values in the first ten numbers and in one category, so that the signature lets them be missing."
    random = np.random.default_rng(3)
    for name in [*NUMBERS[:10], "carrier"]:
        frame[name] = frame[name].mask(random.random(len(frame)) < MISSING)
    return frame


def outcome(frame: pd.DataFrame, seed: int) -> np.ndarray:
    "Depends on most columns, and not linearly, so that the trees use what they are given."
    random = np.random.default_rng(seed)
    numbers = frame[NUMBERS].fillna(0).to_numpy()
    numbers = (numbers - numbers.mean(0)) / numbers.std(0)
    score = (
        np.sin(2 * numbers) @ random.normal(0, 0.5, 30)
        + numbers[:, ::2].prod(1)
        + numbers[:, 0] * numbers[:, 20]
    )
    for name, levels in LEVELS.items():
        score = score + frame[name].map(
            dict(zip(levels, random.normal(0, 1, len(levels)), strict=True))
        ).fillna(0)
    return random.random(len(frame)) < 1 / (1 + np.exp(-score))
