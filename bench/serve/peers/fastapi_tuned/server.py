"""FastAPI as fast as we could make it: our best effort for the other side.

msgspec decodes straight into typed rows (no pydantic), the route is Starlette's own (no dependency solving), and
LightGBM is asked through its C library, by its fast path where there is one row. The model is loaded without
`import lightgbm`, which saves memory and start-up time.
"""

import ctypes
import json
import math
import os
from importlib.util import find_spec

import msgspec
import numpy as np
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

FLOAT64, ROW_MAJOR, NORMAL, ALL = 1, 1, 0, -1
MODEL = os.environ["MODEL"]

columns = json.load(open(f"{MODEL}/columns.json"))
numbers, categories = columns["numbers"], columns["categories"]
codes = [{level: float(i) for i, level in enumerate(levels)} for levels in categories.values()]
width, first = len(numbers) + len(categories), len(numbers)

Row = msgspec.defstruct(
    "Row", [(name, float | None) for name in numbers] + [(name, str | None) for name in categories], gc=False
)
Rows = msgspec.defstruct("Rows", [("rows", list[Row])], gc=False)
decode = msgspec.json.Decoder(Rows).decode
encode = msgspec.json.Encoder().encode
cells = msgspec.structs.astuple

library = ctypes.CDLL(
    os.path.join(find_spec("lightgbm").submodule_search_locations[0], "lib/lib_lightgbm.so")
)
booster, trees = ctypes.c_void_p(), ctypes.c_int()
library.LGBM_BoosterCreateFromModelfile(
    f"{MODEL}/model.txt".encode(), ctypes.byref(trees), ctypes.byref(booster)
)

fast = ctypes.c_void_p()
library.LGBM_BoosterPredictForMatSingleRowFastInit(
    booster, NORMAL, 0, ALL, FLOAT64, ctypes.c_int32(width), b"num_threads=1", ctypes.byref(fast)
)
row, one, written = (ctypes.c_double * width)(), ctypes.c_double(), ctypes.c_int64()
ask_fast = library.LGBM_BoosterPredictForMatSingleRowFast
ask_fast.argtypes = [ctypes.c_void_p] * 4
FAST = fast.value, ctypes.addressof(row), ctypes.addressof(written), ctypes.addressof(one)


def predict_row(values: tuple) -> float:
    "On the event loop's only thread, so that one buffer is enough."
    try:
        row[:first] = values[:first]
    except TypeError:  # a null
        row[:first] = [math.nan if value is None else value for value in values[:first]]
    row[first:] = [code.get(value, math.nan) for code, value in zip(codes, values[first:], strict=True)]
    ask_fast(*FAST)
    return one.value


def predict_rows(rows: list) -> list[float]:
    table = list(zip(*map(cells, rows), strict=True))
    matrix = np.empty((len(rows), width))
    for i, column in enumerate(table[:first]):
        matrix[:, i] = column
    for i, (code, column) in enumerate(zip(codes, table[first:], strict=True), first):
        matrix[:, i] = [code.get(value, math.nan) for value in column]
    answers = np.empty(len(rows))
    library.LGBM_BoosterPredictForMat(
        booster,
        matrix.ctypes.data_as(ctypes.c_void_p),
        FLOAT64,
        ctypes.c_int32(len(rows)),
        ctypes.c_int32(width),
        ROW_MAJOR,
        NORMAL,
        0,
        ALL,
        b"num_threads=1",
        ctypes.byref(written),
        answers.ctypes.data_as(ctypes.POINTER(ctypes.c_double)),
    )
    return answers.tolist()


async def predict(request: Request) -> Response:
    try:
        rows = decode(await request.body()).rows
    except msgspec.DecodeError as error:
        return Response(encode({"detail": str(error)}), 422, media_type="application/json")
    answers = [predict_row(cells(rows[0]))] if len(rows) == 1 else predict_rows(rows)
    return Response(encode({"predictions": answers}), media_type="application/json")


app = FastAPI(openapi_url=None)
app.add_route("/predict", predict, methods=["POST"])
