"""Watching a new release answer live requests: errors, p99 and predictions beside those of the one before.

Failed requests are counted at the proxy, latency and predictions come from the metrics of both containers. While the new release has a
share of the requests, both are compared over the same time. Once it has all, it is compared with what the old container counted in its
life, and predictions are not compared: the old ones hold the golden rows.
"""

import time

from .failed import Failed
from .proxy_state import SOCKET, counts
from .rollout import (
    answered,
    ask,
    gate,
    histogram,
    in_words,
    p99,
    psi,
    read_probe,
    scrape,
    since,
)

FEW_ERRORS = 3  # one failed request may be anything
UNNOTICED = 0.05  # seconds: a p99 below this is never too slow
POLL = 0.25
SILENT = 3  # polls without an answer of /readyz


def proxy_counts(path, service, server):
    "Requests that the running proxy sent to a server (or BACKEND: all), and how many of them failed."
    counted = counts(path, service, server)
    return counted["requests"], counted["failed"]


class Watch:
    def __init__(self, want):
        self.want, self.key = want, read_probe(want["probe"])
        self.began = {side: self.scrape(side) or {} for side in ("old", "new")}
        self.silent = 0

    def scrape(self, side):
        port = self.want[side].get("port")
        return scrape(port, self.key) if port else None

    def judge(self):
        "The gates as they stand."
        want, both = self.want, self.want["share"]
        new, old = self.scrape("new"), self.scrape("old")
        server = want["new"]["colour"] if both else "BACKEND"
        requests, failed = proxy_counts(SOCKET, want["service"], server)
        before, failed_before = (
            proxy_counts(SOCKET, want["service"], want["old"]["colour"])
            if both
            else answered(old or {})
        )
        threshold = want["errors"] + (failed_before / before if before else 0.0)
        enough = 1 if failed >= FEW_ERRORS else requests + 1
        gates = [gate("errors", failed / requests if requests else None, threshold, requests, enough)]
        if new is None or old is None:
            # Whoever reads the journal sees that latency was not judged.
            return [*gates, gate("p99 seconds", None, UNNOTICED, 0)]
        mine = since(new, self.began["new"])
        theirs = since(old, self.began["old"]) if both else old
        limit = max(UNNOTICED, want["p99"] * (p99(theirs) or 0.0))
        count = min(answered(mine)[0], answered(theirs)[0])
        gates.append(gate("p99 seconds", p99(mine), limit, count, want["requests"]))
        if both:
            bins = [histogram(metrics, "mlkit_prediction") for metrics in (theirs, mine)]
            rows = min(sum(each.values()) for each in bins)
            same = bins[0] and list(bins[0]) == list(bins[1])
            value = psi(*(list(each.values()) for each in bins)) if same and rows else None
            gates.append(gate("prediction psi", value, want["psi"], rows, want["requests"]))
        return gates

    def answers(self):
        "Whether the new container has not stopped answering."
        status, _ = ask(self.want["new"]["port"], "/readyz", seconds=5)
        self.silent = 0 if status == 200 else self.silent + 1
        return self.silent < SILENT


def watch(want, gates):
    """Watch for `want["seconds"]`, and add what was measured to the gates. Raises `Failed` as soon as a gate fails.

    `want`: service, old and new ({colour, port}; old is empty where there is none), share (whether both answer), probe (the file with
    the deployment's key), and the limits errors, p99, psi and requests: see the defaults of the role.
    """
    watching = Watch(want)
    until = time.monotonic() + want["seconds"]
    while True:
        last, measured = time.monotonic() >= until, watching.judge()
        words = in_words(measured) or ("" if watching.answers() else "the new container stopped answering /readyz")
        if words or last:
            gates += measured
        if words:
            raise Failed("refused while it answered live requests: " + words)
        if last:
            return
        time.sleep(POLL)
