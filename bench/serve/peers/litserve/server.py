"""LitServe as its documentation shows it: setup, decode, predict, encode."""

import json
import math
import os

import lightgbm
import litserve
import pandas as pd


class Classifier(litserve.LitAPI):
    def setup(self, device):
        self.model = lightgbm.Booster(model_file=f"{os.environ['MODEL']}/model.txt")
        columns = json.load(open(f"{os.environ['MODEL']}/columns.json"))
        self.codes = {
            name: {level: i for i, level in enumerate(levels)}
            for name, levels in columns["categories"].items()
        }

    def decode_request(self, request):
        for row in request["rows"]:
            for name, code in self.codes.items():
                row[name] = code.get(row[name], math.nan)
        return pd.DataFrame(request["rows"])

    def predict(self, frame):
        return self.model.predict(frame)

    def encode_response(self, answers):
        return {"predictions": answers.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(
        Classifier(), accelerator="cpu", workers_per_device=int(os.environ["WORKERS"])
    )
    server.run(host="127.0.0.1", port=int(os.environ["PORT"]), generate_client_file=False)
