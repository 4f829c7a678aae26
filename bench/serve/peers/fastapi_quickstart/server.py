"""FastAPI as its first tutorial shows it: a pydantic model of a row, and a DataFrame of the rows."""

import json
import math
import os

import lightgbm
import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel, create_model

app = FastAPI()
model = lightgbm.Booster(model_file=f"{os.environ['MODEL']}/model.txt")
columns = json.load(open(f"{os.environ['MODEL']}/columns.json"))
codes = {name: {level: i for i, level in enumerate(levels)} for name, levels in columns["categories"].items()}

# What a person writes as a class with 33 lines such as `number_00: float | None`.
Row = create_model(
    "Row", **dict.fromkeys(columns["numbers"], float | None), **dict.fromkeys(codes, str | None)
)


class Rows(BaseModel):
    rows: list[Row]


@app.post("/predict")
def predict(body: Rows):
    rows = [row.model_dump() for row in body.rows]
    for row in rows:
        for name, code in codes.items():
            row[name] = code.get(row[name], math.nan)
    return {"predictions": model.predict(pd.DataFrame(rows)).tolist()}
