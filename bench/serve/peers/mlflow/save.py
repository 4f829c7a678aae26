"""The model as MLflow keeps it. Its own LightGBM flavor cannot be asked with text, so a pyfunc codes the levels."""

import json
import os

import lightgbm
import mlflow
import pandas as pd
from mlflow.models import infer_signature

MODEL = os.environ["MODEL"]


class Classifier(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        self.model = lightgbm.Booster(model_file=context.artifacts["model"])
        columns = json.load(open(context.artifacts["columns"]))
        self.codes = {
            name: {level: i for i, level in enumerate(levels)}
            for name, levels in columns["categories"].items()
        }

    def predict(self, context, model_input, params=None):
        frame = model_input.copy()
        for name, code in self.codes.items():
            frame[name] = frame[name].map(code)
        return self.model.predict(frame)


with open(f"{MODEL}/bodies/rows-100") as bodies:
    rows = pd.DataFrame(json.loads(bodies.readline())["rows"])
mlflow.pyfunc.save_model(
    f"{MODEL}/mlflow",
    python_model=Classifier(),
    artifacts={"model": f"{MODEL}/model.txt", "columns": f"{MODEL}/columns.json"},
    signature=infer_signature(rows, pd.Series([0.5])),
    pip_requirements=["mlflow", "lightgbm", "pandas"],
)
