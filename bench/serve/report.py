"""The figures as tables for a person. A figure is the median over the rounds; a ratio is taken within each round first."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from answers import QUESTIONS
from load import LOADS, key
from servers import SERVERS

OURS = "mlkit"
TITLES = {server.name: server.title for server in SERVERS}


class Ratio(NamedTuple):
    "Of the rounds."

    median: float
    least: float
    most: float


class Results:
    "What the rounds gave, with the questions that the tables ask."

    def __init__(self, rounds: list[dict]):
        self.rounds = rounds
        self.names = [s.name for s in SERVERS if any(s.name in each for each in rounds)]

    def values(self, name: str, figure: str, load: str | None = None) -> list[float | None]:
        "One value a round; None where there is none. The figure `limit`: CPU µs of the bare C call, measured beside."
        found = []
        for each in self.rounds:
            server = each.get(name, {})
            if figure == "limit":
                found.append(server.get("limit", {}).get(load.split()[0]))
            else:
                found.append((server.get("loads", {}).get(load, {}) if load else server).get(figure))
        return found

    def median(self, name: str, figure: str, load: str | None = None) -> float | None:
        found = [value for value in self.values(name, figure, load) if value is not None]
        return median(found) if found else None

    def ratio(self, name: str, other: str, figure: str, load: str | None = None) -> Ratio | None:
        return _ratio(self.values(name, figure, load), self.values(other, figure, load))

    def over_limit(self, name: str, load: str) -> Ratio | None:
        return _ratio(self.values(name, "cpu", load), self.values(name, "limit", load))

    def over_bare(self, load: str) -> float | None:
        "CPU µs of the whole contract."
        pairs = zip(self.values(OURS, "cpu", load), self.values("mlkit_bare", "cpu", load), strict=True)
        found = [whole - bare for whole, bare in pairs if whole and bare]
        return median(found) if found else None


def _ratio(these: list, those: list) -> Ratio | None:
    found = [this / that for this, that in zip(these, those, strict=True) if this and that]
    return Ratio(median(found), min(found), max(found)) if found else None


def load_table(results: Results, rows: int, connections: int) -> list[str]:
    load = key(rows, connections)
    lines = [
        f"{rows} row{'s' * (rows > 1)} a request, {connections} connection{'s' * (connections > 1)}",
        f"  {'':24}{'CPU µs':>10}{'× mlkit':>9}{'(spread)':>17}{'× C call':>10}{'(spread)':>17}"
        f"{'req/s':>9}{'p50 ms':>10}{'p99 ms':>10}  errors",
    ]
    for name in results.names:
        if (cpu := results.median(name, "cpu", load)) is None:
            continue
        rate, p50, p99 = (results.median(name, figure, load) for figure in ("rate", "p50", "p99"))
        errors = sum(v or 0 for kind in ("refused", "broken") for v in results.values(name, kind, load))
        lines.append(
            f"  {TITLES[name]:24}{cpu:10,.0f}{_words(results.ratio(name, OURS, 'cpu', load))}"
            f" {_words(results.over_limit(name, load))}{rate:9,.0f}{p50:10.2f}{p99:10.2f}  {errors or ''}".rstrip()
        )
    bare = [value for name in results.names for value in results.values(name, "limit", load) if value]
    return [*lines, f"  {'the bare C call':24}{median(bare):10,.0f}" if bare else "", ""]


def _words(ratio: Ratio | None) -> str:
    return f"{ratio.median:9.2f}{f'({ratio.least:.2f} to {ratio.most:.2f})':>17}" if ratio else " " * 26


def size_table(results: Results) -> list[str]:
    lines = [
        "two workers",
        f"  {'':24}{'PSS MB':>10}{'× mlkit':>9}{'(spread)':>17}{'cold start s':>14}{'(spread)':>17}",
    ]
    for name in results.names:
        if (memory := results.median(name, "memory")) is None:
            continue
        starts = [value for value in results.values(name, "cold_start") if value]
        lines.append(
            f"  {TITLES[name]:24}{memory:10,.0f}{_words(results.ratio(name, OURS, 'memory'))}"
            f"{median(starts):14.2f}{f'({min(starts):.2f} to {max(starts):.2f})':>17}"
        )
    return [*lines, ""]


def answers_table(answers: dict[str, dict[str, str]]) -> list[str]:
    titles = [question.title for question in QUESTIONS]
    lines = [
        "right answers: 20 rows, each asked for alone",
        " " * 26 + "".join(f"{title:15}" for title in titles),
    ]
    for server in SERVERS:
        if verdicts := answers.get(server.name):
            lines.append(
                f"  {server.title:24}" + "".join(f"{verdicts[title]:15}" for title in titles).rstrip()
            )
    return [*lines, ""]


@dataclass(frozen=True)
class Target:
    words: str
    value: Callable[[Results], float | None]
    bound: float
    at_least: bool = False

    def line(self, results: Results) -> str:
        value = self.value(results)
        if value is None:
            return f"  {self.words:66}{'not measured':>34}"
        kept = value >= self.bound if self.at_least else value <= self.bound
        sign = "≥" if self.at_least else "≤"
        return f"  {self.words:66}{value:10.2f}   {sign} {self.bound:<7g}{'kept' if kept else 'MISSED':>8}"


def _cpu(peer: str) -> Callable:
    "How many times our CPU a peer needs for one row."
    return lambda results: _middle(results.ratio(peer, OURS, "cpu", key(1, 16)))


def _middle(ratio: Ratio | None) -> float | None:
    return ratio.median if ratio else None


def _leanest_peer(results: Results) -> float | None:
    found = [results.ratio(name, OURS, "cpu", key(1000, 16)) for name in results.names if OURS not in name]
    return min((ratio.median for ratio in found if ratio), default=None)


TARGETS = [
    Target("one row, CPU: Flask, naive ÷ mlkit", _cpu("flask_naive"), 8, at_least=True),
    Target("one row, CPU: FastAPI, quick-start ÷ mlkit", _cpu("fastapi_quickstart"), 8, at_least=True),
    Target("one row, CPU: MLServer ÷ mlkit", _cpu("mlserver"), 10, at_least=True),
    Target("one row, CPU: LitServe ÷ mlkit", _cpu("litserve"), 15, at_least=True),
    Target("one row, CPU: BentoML ÷ mlkit", _cpu("bentoml"), 25, at_least=True),
    Target("one row, CPU: MLflow ÷ mlkit", _cpu("mlflow"), 50, at_least=True),
    Target("one row, CPU: FastAPI, tuned by hand ÷ mlkit", _cpu("fastapi_tuned"), 1.5, at_least=True),
    Target("one row, CPU: mlkit ÷ bare C call", lambda r: _middle(r.over_limit(OURS, key(1, 16))), 2.3),
    Target("one row, CPU µs: mlkit − mlkit without contract", lambda r: r.over_bare(key(1, 16)), 40),
    Target(
        "1000 rows, CPU: mlkit ÷ bare C call",
        lambda r: _middle(r.over_limit(OURS, key(1000, 16))),
        1.15,
    ),
    Target("1000 rows, CPU: leanest peer ÷ mlkit", _leanest_peer, 1, at_least=True),
    Target("one row, 1 connection, p50 in ms", lambda r: r.median(OURS, "p50", key(1, 1)), 0.25),
    Target(
        "one row, 1 connection, p50: mlkit ÷ FastAPI, tuned by hand",
        lambda r: _middle(r.ratio(OURS, "fastapi_tuned", "p50", key(1, 1))),
        0.9,
    ),
    Target("memory of two workers, PSS in MB", lambda r: r.median(OURS, "memory"), 80),
    Target("cold start, launch to first 200, in s", lambda r: r.median(OURS, "cold_start"), 0.8),
]


def tables(record: dict) -> str:
    "Everything, from what `--json` keeps."
    results = Results(record["rounds"])
    lines = [
        f"{record['machine']}; rounds: {len(results.rounds)}, seconds a load: {record['seconds']}; medians; "
        "CPU of the whole process tree, per request; × mlkit within each round",
        "",
    ]
    for rows, all_connections in LOADS.items():
        for connections in all_connections:
            lines += load_table(results, rows, connections)
    lines += size_table(results) + answers_table(record["answers"])
    lines += ["targets", *(target.line(results) for target in TARGETS)]
    for name, why in record["unavailable"].items():
        lines += ["", f"{TITLES[name]} dropped out: {why}"]
    return "\n".join(lines)
