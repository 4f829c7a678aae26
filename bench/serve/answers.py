"""Right answers: what a server does with a request that is not quite what it expects.

Each of 20 rows is asked for alone. An answer is right where it equals `Booster.predict` on what the client meant, to the
bit; a refusal (4xx) is as good. A failure (5xx) tells at least that something is wrong. A wrong number with a 200 tells nothing.
"""

import http.client
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import lightgbm
from formats import FORMATS, Row, matrix
from servers import Running

ASKED = 20  # rows
SEVERITY = ["right", "refuses", "fails", "WRONG"]


@dataclass(frozen=True)
class Question:
    title: str
    sent: Callable[[Row], Row]
    meant: Callable[[Row], Row] = lambda row: row
    by_name: bool = False  # can only be asked where values have names


def _shuffled(row: Row) -> Row:
    names = list(row)
    random.Random(1).shuffle(names)
    return {name: row[name] for name in names}


def _without(row: Row, name: str) -> Row:
    return {key: value for key, value in row.items() if key != name}


QUESTIONS = [
    Question("plain", lambda row: row),
    Question("keys shuffled", _shuffled, by_name=True),
    Question("null", lambda row: row | {"number_00": None}, lambda row: row | {"number_00": None}),
    Question("unseen level", lambda row: row | {"carrier": "new"}, lambda row: row | {"carrier": None}),
    Question("text for 1.5", lambda row: row | {"number_01": str(row["number_01"])}),
    Question("extra key", lambda row: row | {"comment": 1.5}, by_name=True),
    Question(
        "missing key",
        lambda row: _without(row, "number_02"),
        lambda row: row | {"number_02": None},
        by_name=True,
    ),
]


class Examiner:
    "Knows the right answers."

    def __init__(self, model: Path):
        self.columns = json.loads((model / "columns.json").read_text())
        self._booster = lightgbm.Booster(model_file=model / "model.txt")
        with open(model / "bodies" / "rows-1") as bodies:
            self._rows = [json.loads(bodies.readline())["rows"][0] for _ in range(ASKED)]

    def examine(self, server: Running) -> dict[str, str]:
        "Title of the question → the worst verdict on a row, in words."
        form = FORMATS[server.server.format]
        return {
            q.title: "has no names" if q.by_name and not form.named else self._verdict(server, q)
            for q in QUESTIONS
        }

    def _verdict(self, server: Running, question: Question) -> str:
        form, seen, worst = FORMATS[server.server.format], Counter(), 0.0
        meant = self._booster.predict(
            matrix([question.meant(row) for row in self._rows], self.columns), num_threads=1
        )
        for row, right in zip(self._rows, meant.tolist(), strict=True):
            given = _given(server, form, form.body([question.sent(row)], self.columns))
            if isinstance(given, float) and given != right:
                worst = max(worst, abs(given - right))
                given = "WRONG"
            seen["right" if given == right else given] += 1
        word = max(seen, key=lambda word: SEVERITY.index(word.split()[0]))
        count = f" {seen[word]}/{ASKED}" if seen[word] < ASKED else ""
        return f"WRONG by {worst:.2g}{count}" if word == "WRONG" else f"{word}{count}"


def _given(server: Running, form, body: bytes) -> float | str:
    "The one prediction, or a word for what came instead."
    try:
        status, answer = server.ask(body)
        if status == 200:
            [prediction] = form.answers(json.loads(answer))
            return float(prediction)
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        return "fails"
    return f"refuses {status}" if status < 500 else f"fails {status}"
