"""The Flask server that most tutorials write: a DataFrame of the body, the model's predict, jsonify."""

import json
import math
import os

import lightgbm
import pandas as pd
from flask import Flask, jsonify, request

app = Flask(__name__)
model = lightgbm.Booster(model_file=f"{os.environ['MODEL']}/model.txt")
columns = json.load(open(f"{os.environ['MODEL']}/columns.json"))
codes = {name: {level: i for i, level in enumerate(levels)} for name, levels in columns["categories"].items()}


@app.post("/predict")
def predict():
    rows = request.get_json()["rows"]
    for row in rows:
        for name, code in codes.items():
            row[name] = code.get(row[name], math.nan)
    return jsonify({"predictions": model.predict(pd.DataFrame(rows)).tolist()})
