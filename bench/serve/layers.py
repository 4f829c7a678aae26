"""Where the time of one request goes inside the server's process: CPU µs, without sockets.

    python bench/serve/layers.py [SECONDS]

Each line does all that the line above it does, and one thing more. The lines take turns, so that a busy machine slows all
alike; the figure is the median of the turns.
"""

import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

SCRATCH = tempfile.TemporaryDirectory(prefix="mlkit-bench-")
os.environ["PROMETHEUS_MULTIPROC_DIR"] = (
    SCRATCH.name
)  # as under gunicorn; prometheus_client reads it when it is imported

import numpy as np  # noqa: E402
from model import made_model  # noqa: E402

from mlkit.serve.logs.requests import access_line  # noqa: E402
from mlkit.serve.options import Options  # noqa: E402
from mlkit.serve.service import Head, Reply, Service  # noqa: E402
from mlkit.serve.single_row import PlainRow  # noqa: E402

TURNS = 9
Layers = dict[
    str, tuple[Callable, Iterable]
]  # what it does → the function, and the arguments that it is called with


def main(seconds: float) -> None:
    model = made_model()
    service = Service(Options(model=model / "bundle", predictions=Path(SCRATCH.name, "predictions")))
    for rows in (1, 100, 1000):
        layers = one_row(service, model) if rows == 1 else batches(service, model, rows)
        print(f"{f'{rows} at a time':42}{'CPU µs':>10}{'adds':>10}")
        above = 0.0
        for words, cpu in measured(layers, seconds).items():
            print(f"  {words:40}{cpu:10,.1f}{cpu - above:10,.1f}")
            above = cpu
        print()


def one_row(service: Service, model: Path) -> Layers:
    predictor = service.ready()
    bodies, ask = read_bodies(model, 1), predictor.bundle.model.row_asker()
    return {
        "the C call, from a list of numbers": (ask, np.load(model / "matrix-1.npy").tolist()),
        "JSON decoded and checked": (PlainRow(predictor.bundle), bodies),
        **from_here_on(service, bodies),
    }


def batches(service: Service, model: Path, rows: int) -> Layers:
    bundle = service.ready().bundle
    bodies, matrix = read_bodies(model, rows), np.load(model / f"matrix-{rows}.npy")
    decode = bundle.signature.decode
    return {
        "the C call, from a matrix": (bundle.model.predict, np.split(matrix, len(matrix) // rows)),
        "levels coded, columns stacked": (bundle.predict, [decode(body) for body in bodies]),
        "JSON decoded and checked": (lambda body: bundle.predict(decode(body)), bodies),
        **from_here_on(service, bodies),
    }


def from_here_on(service: Service, bodies: list[bytes]) -> Layers:
    head = Head()
    return {
        "an id, and the answer as JSON": (service.ready().answer, bodies),
        "metrics and prediction log": (lambda body: service.predict(head, body), bodies),
        "a line of the access log": (lambda body: logged(service.predict(head, body)), bodies),
    }


def logged(reply: Reply) -> bytes:
    return access_line("POST", "/predict", reply.status, 1e-4, 900, len(reply.body), "r-1", rows=1)


def read_bodies(model: Path, rows: int) -> list[bytes]:
    return (model / "bodies" / f"rows-{rows}").read_bytes().splitlines()


def measured(layers: Layers, seconds: float) -> dict[str, float]:
    "CPU µs a call of each layer."
    arguments = {words: itertools.cycle(given) for words, (_, given) in layers.items()}
    turns = {words: [] for words in layers}
    for _ in range(TURNS):
        for words, (function, _) in layers.items():
            turns[words].append(per_call(function, arguments[words], seconds / TURNS))
    return {words: median(found) for words, found in turns.items()}


def per_call(function: Callable, arguments: Iterable, seconds: float) -> float:
    calls, began, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        for argument in itertools.islice(arguments, 10):
            function(argument)
        calls += 10
    return (time.process_time() - cpu) / calls * 1e6


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 5)
