"""How rows become the body that a server wants, and how its answer is read."""

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Row = dict  # column → value
Columns = dict  # {"numbers": [name], "categories": {name: levels}}


@dataclass(frozen=True)
class Format:
    body: Callable[[list[Row], Columns], bytes]
    answers: Callable[[dict], list[float]]  # of the decoded answer
    named: bool = (
        True  # False: the client puts the values in order and codes the levels; the server sees no names
    )


def matrix(rows: list[Row], columns: Columns) -> np.ndarray:
    "The rows as the model sees them: NaN for what is missing, and for a level that it does not know."
    codes = {
        name: {level: i for i, level in enumerate(levels)} for name, levels in columns["categories"].items()
    }
    numbers = [[row[name] for name in columns["numbers"]] for row in rows]
    levels = [[code.get(row[name]) for name, code in codes.items()] for row in rows]
    return np.column_stack([np.array(numbers, dtype=float), np.array(levels, dtype=float)])


def _compact(value: dict) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _rows(rows: list[Row], columns: Columns) -> bytes:
    return _compact({"rows": rows})


def _records(rows: list[Row], columns: Columns) -> bytes:
    return _compact({"dataframe_records": rows})


def _tensor(rows: list[Row], columns: Columns) -> bytes:
    "The Open Inference Protocol. Only values, so a client must know the order and the codes."
    known = {
        name: {level: i for i, level in enumerate(levels)} for name, levels in columns["categories"].items()
    }
    cells = [
        [row[name] for name in columns["numbers"]]
        + [None if row[name] is None else code.get(row[name], len(code)) for name, code in known.items()]
        for row in rows
    ]
    tensor = {"name": "rows", "shape": [len(rows), len(cells[0])], "datatype": "FP64", "data": cells}
    return _compact({"inputs": [tensor]})


def _predictions(answer: dict) -> list[float]:
    return answer["predictions"]


def _output(answer: dict) -> list[float]:
    return answer["outputs"][0]["data"]


FORMATS = {
    "rows": Format(_rows, _predictions),
    "records": Format(_records, _predictions),
    "tensor": Format(_tensor, _output, named=False),
}
