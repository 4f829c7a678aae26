"""BentoML as its documentation shows it: a class that is a service, a method that is a route."""

import json
import math
import os

import bentoml
import lightgbm
import pandas as pd


@bentoml.service(workers=int(os.environ["WORKERS"]))
class Classifier:
    def __init__(self):
        self.model = lightgbm.Booster(model_file=f"{os.environ['MODEL']}/model.txt")
        columns = json.load(open(f"{os.environ['MODEL']}/columns.json"))
        self.codes = {
            name: {level: i for i, level in enumerate(levels)}
            for name, levels in columns["categories"].items()
        }

    @bentoml.api
    def predict(self, rows: list[dict]) -> dict:
        for row in rows:
            for name, code in self.codes.items():
                row[name] = code.get(row[name], math.nan)
        return {"predictions": self.model.predict(pd.DataFrame(rows)).tolist()}
