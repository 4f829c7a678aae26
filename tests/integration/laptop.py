"A laptop: a project in a folder with a few small models, and the commands that a person types there."

import atexit
import functools
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import psutil
from eventually import eventually

MLKIT = [sys.executable, "-m", "mlkit"]

TRAIN = """
import lightgbm, numpy as np, pandas as pd
from mlkit.model.features import encode, fit_features
from mlkit.runs.current import current_run
from mlkit.model.signature import Output, frame_columns, infer_signature
run = current_run()
frame = pd.DataFrame({"distance": np.arange(400) % 40, "temp": np.arange(400) / 7, "carrier": ["AA", "UA"] * 200})
frame.loc[::9, "temp"] = np.nan
signature = infer_signature(frame, Output("late", "probability"))
columns = frame_columns(signature, frame)
matrix = encode(fit_features(columns), columns)
settings = {"objective": "binary", "num_threads": 1, "verbose": -1, "seed": 1}
data = lightgbm.Dataset(matrix, matrix[:, 0] > LATE, params={"verbose": -1})
late = matrix[:, 0] > LATE
bundle = run.save_model(lightgbm.train(settings, data, num_boost_round=TREES), signature, columns, target=late)
fresh = frame.assign(temp=(np.arange(400) + 0.5) / 7)  # judged on other days than those it was trained on
run.write("rows", fresh)
run.read("rows")
run.judge(bundle, fresh, late, bundle.predict(frame_columns(signature, fresh)))
print(bundle.digest)
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@functools.cache
def trained(trees, late, settings):
    "The store of a project in which nothing but this was trained, and the model's digest."
    folder = Path(tempfile.mkdtemp(prefix="mlkit-trained-"))
    atexit.register(shutil.rmtree, folder)
    (folder / "settings.ini").write_text(settings)
    code = TRAIN.replace("TREES", str(trees)).replace("LATE", str(late))
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "store", done.stdout.splitlines()[-1]


class Laptop:
    "A project in a folder, with the commands that a person types."

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        (folder / "settings.ini").write_text(
            f"[project]\nname = flights\nport = {self.port}\n[gates]\nauc = >= 0.5\n"
        )

    def with_models_of(self, other):
        shutil.copytree(other.folder / "store", self.folder / "store")
        return self

    def mlkit(self, *words, check=True, **environment):
        done = subprocess.run(
            [*MLKIT, *words],
            cwd=self.folder,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def train(self, trees, late=20):
        """Train and judge a model, for which a flight is late above this distance; give its digest.

        A training takes four seconds of CPU: what another project with these settings has trained is copied from it.
        """
        settings = (self.folder / "settings.ini").read_text().partition("[environment")[0]
        store, digest = trained(trees, late, settings.replace(f"port = {self.port}\n", ""))
        shutil.copytree(store, self.folder / "store", dirs_exist_ok=True)
        return digest

    def ask(self, body, content_type="application/json", path="/predict"):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("POST", path, body, {"Content-Type": content_type})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    def model(self):
        return self.ask(b'{"rows":[{"distance":3,"carrier":"AA"}]}')[1]["model"]

    def process(self, name):
        return psutil.Process(int((self.folder / f".mlkit/local/{name}.pid").read_text()))


class Load(threading.Thread):
    "Keep-alive requests, one after the other, no retries; every failure is kept."

    def __init__(self, host, port, key=""):
        super().__init__()
        self.host, self.port, self.key = host, port, key
        self.models, self.failures, self.ended = [], [], threading.Event()

    def run(self):
        connection = None
        while not self.ended.wait(0.005):  # a closed loop would take the cores from what is tested
            try:
                if connection is None:
                    connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
                connection.request(
                    "POST",
                    "/predict",
                    b'{"rows":[{"distance":3,"carrier":"AA"}]}',
                    {"Content-Type": "application/json", "X-Api-Key": self.key},
                )
                answer = connection.getresponse()
                body = answer.read()
                assert answer.status == 200, body
                self.models.append(json.loads(body)["model"])
                if answer.will_close:
                    connection = None
            except Exception as error:
                self.failures.append(repr(error))
                connection = None

    def __enter__(self):
        self.start()
        eventually(lambda: self.models)
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.join()
