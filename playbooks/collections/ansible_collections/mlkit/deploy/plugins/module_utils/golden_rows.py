"""Golden rows: the rows of a release are asked of a server, and its predictions compared with the recorded ones to the bit."""

import json
import time

from .failed import Failed
from .rollout import ask, gate, read_probe


def same(one, other):
    "Equal numbers and texts, or lists and objects of equal ones; true is not 1."
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def first_difference(wanted, got):
    "A sentence about the first prediction that differs, or None."
    if not isinstance(got, list) or len(got) != len(wanted):
        return f"expected {len(wanted)} predictions, got {len(got) if isinstance(got, list) else json.dumps(got)[:200]}"
    differing = [row for row in range(len(wanted)) if not same(wanted[row], got[row])]
    if not differing:
        return None
    row = differing[0]
    return (
        f"row {row} (counted from 0) should give {json.dumps(wanted[row])} and gives {json.dumps(got[row])};"
        f" {len(differing)} of {len(wanted)} rows differ"
    )


def judge(status, body, golden, model):
    "What is wrong with an answer: (cause or None, whether asking again may help)."
    if status != 200:
        said = f"/predict answered {status}: {body[:300]}" if status else f"nobody answered /predict: {body}"
        return f"golden rows refused: {said}", True
    try:
        answer = json.loads(body)
        said, predictions = answer["model"], answer["predictions"]
    except (ValueError, KeyError, TypeError):
        return (
            f"golden rows refused: /predict answered 200 without model and predictions: {body[:300]}",
            False,
        )
    if said != model:
        return f"wrong model: the release promises {model}, /predict says {said}", True
    difference = first_difference(golden["predictions"], predictions)
    return (f"golden rows differ: {difference}" if difference else None), False


def replay(path, port, model, probe="", seconds=0, tls=False):
    """Ask the rows of a golden.json of the server at a port of this host, and give the gate. Raises `Failed`.

    For so many seconds the answers may come from another model or not at all: a proxy that was reloaded a moment ago may still let
    its old process answer. `probe` is the file with the deployment's key.
    """
    with open(path, encoding="utf-8") as file:
        golden = json.load(file)
    key, data = read_probe(probe), json.dumps({"rows": golden["rows"]}).encode()
    until = time.monotonic() + seconds
    while True:
        cause, again = judge(*ask(port, "/predict", key, data, 30, tls), golden, model)
        if cause is None:
            return gate("golden rows that differ", 0, 0, len(golden["rows"]))
        if not again or time.monotonic() >= until:
            raise Failed(cause)
        time.sleep(0.1)
