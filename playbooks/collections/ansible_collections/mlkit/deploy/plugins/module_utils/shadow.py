"""The shadow: requests that the live release answers are asked of a new one too, and the answers compared. Nobody gets the new ones.

Requests and answers come from the prediction log of the live release: first the last ones that it holds, then for some seconds each
new one. The way of a client's request is not touched.
"""

import glob
import json
import os
import time

from .failed import Failed
from .rollout import ask, gate, in_words, predictions_in, psi_of_values, read_probe

FILES = ("*.predictions.jsonl", "*.predictions.jsonl.open")
TAIL = 64 * 1024 * 1024  # bytes of a file that are looked at for replay


class Log:
    "The records of one release in a folder of prediction logs, those of the past and those that come."

    def __init__(self, folder, release):
        self.folder, self.marker = folder, json.dumps(release).encode()
        self.read = {self.key(path): os.path.getsize(path) for path in self.files()}

    def files(self):
        found = [path for pattern in FILES for path in glob.glob(os.path.join(self.folder, pattern))]
        return sorted(found, key=os.path.basename)

    def key(self, path):
        return os.stat(path).st_ino  # a finished file keeps its inode and gets another name

    def records(self, lines):
        for line in lines:
            if self.marker in line and line.endswith(b"\n"):
                record = json.loads(line)
                if "rows" in record and json.dumps(record.get("release")).encode() == self.marker:
                    yield record

    def past(self, number):
        "The last records, oldest first."
        found = []
        for path in reversed(self.files()):
            with open(path, "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
                found = list(self.records(file))[-(number - len(found)) :] + found
            if len(found) >= number:
                break
        return found

    def new(self):
        "The records since the last look."
        for path in self.files():
            with open(path, "rb") as file:
                seen = os.fstat(file.fileno()).st_ino
                file.seek(self.read.get(seen, 0))
                whole = file.read().rpartition(b"\n")
            self.read[seen] = self.read.get(seen, 0) + len(whole[0]) + len(whole[1])
            yield from self.records((whole[0] + whole[1]).splitlines(keepends=True))


class Comparison:
    def __init__(self, want):
        self.want, self.key = want, read_probe(want["probe"])
        self.requests = self.refused = self.differing = 0
        self.largest, self.old, self.new, self.seconds = 0.0, [], [], []

    def add(self, record):
        "Ask the new release what the live one was asked."
        began = time.monotonic()
        data = json.dumps({"rows": record["rows"]}).encode()
        status, body = ask(self.want["port"], "/predict", self.key, data)
        self.seconds.append(time.monotonic() - began)
        self.requests += 1
        answer = predictions_in(body) if status == 200 else None
        if answer is None or len(answer) != len(record["predictions"]):
            self.refused += 1
            return
        for one, other in zip(record["predictions"], answer, strict=True):
            if isinstance(one, (int, float)) and isinstance(other, (int, float)):
                self.old.append(one)
                self.new.append(other)
                self.largest = max(self.largest, abs(one - other))
            elif isinstance(one, dict) and isinstance(other, dict):
                self.add_parts(one, other)
            self.differing += one != other

    def add_parts(self, one, other):
        "Of two answers that name a class: which it is, and how far the probabilities are apart; of two medians, they and their quantiles."
        beside = "quantiles" if "quantiles" in one else "probabilities"
        before, after = one[beside], other.get(beside, {})
        names = [*before, *(name for name in after if name not in before)]
        for kept, answer in ((self.old, one), (self.new, other)):
            told = answer["prediction"]
            kept.append(told if beside == "quantiles" else names.index(told))
        apart = [abs(before.get(name, 0) - after.get(name, 0)) for name in names]
        self.largest = max(self.largest, *apart)

    def gates(self):
        share = self.refused / self.requests if self.requests else None
        shift = psi_of_values(self.old, self.new) if self.old else None
        return [
            gate("shadow errors", share, self.want["errors"], self.requests),
            gate("shadow psi", shift, self.want["psi"], len(self.old), self.want["requests"]),
        ]

    def told(self):
        slowest = sorted(self.seconds)[len(self.seconds) * 99 // 100] if self.seconds else 0.0
        return {
            "requests": self.requests,
            "predictions": len(self.old),
            "differing": self.differing,
            "largest_difference": self.largest,
            "p99_seconds": round(slowest, 6),
        }


def compare(want, gates):
    """Compare the new release with the live one, add the gates, and give what was found. Raises `Failed` when a gate fails.

    `want`: log (folder of the prediction log), release (id of the live one), port (of the new one), replay (requests of the past),
    seconds, probe (the file with the deployment's key), and the limits errors, psi and requests.
    """
    log, comparison = Log(want["log"], want["release"]), Comparison(want)
    for record in log.past(want["replay"]) if want["replay"] else ():
        comparison.add(record)
    until = time.monotonic() + want["seconds"]
    while time.monotonic() < until:
        for record in log.new():
            comparison.add(record)
            if time.monotonic() >= until:  # busier than one client can copy: what was copied is a sample
                break
        time.sleep(0.05)
    measured = comparison.gates()
    gates += measured
    if words := in_words(measured):
        raise Failed("refused in the shadow of the live release: " + words, compared=comparison.told())
    return comparison.told()
