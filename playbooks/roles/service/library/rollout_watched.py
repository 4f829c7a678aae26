#!/usr/bin/python
"Watch a new release answer live requests, and compare it with the one before: errors, p99, predictions."

import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.proxy_state import counts
from ansible.module_utils.rollout import (
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

DOCUMENTATION = r"""
module: rollout_watched
short_description: Watch a new release while it answers live requests
description:
  - Counts failed requests at the proxy, and reads latency and predictions from the metrics of both containers. Fails as
    soon as a gate fails.
  - While the new release has a share of the requests, both are compared over the same time. Once it has all, it is
    compared with what the old container counted in its life, and predictions are not compared - the old ones hold the
    golden rows.
options:
  service: {description: Name of the service., type: str, required: true}
  seconds: {description: How long to watch., type: float, required: true}
  old: {description: Colour and port of the container before; empty if there is none., type: dict, default: {}}
  new: {description: Colour and port of the new container., type: dict, required: true}
  share: {description: Whether both answer., type: bool, required: true}
  errors: {description: By how much the share of failed requests may be higher., type: float, required: true}
  p99: {description: How many times the old p99 the new one may be., type: float, required: true}
  psi: {description: The largest population stability index of the predictions., type: float, required: true}
  requests: {description: With fewer, latency and predictions are not judged., type: int, required: true}
  probe: {description: File with the key of the deployment., type: str, default: ""}
  socket: {description: The proxy's own., type: path, default: /run/haproxy.sock}
author: [The mlkit developers]
"""

EXAMPLES = r"""
- name: Watch the new release
  rollout_watched:
    service: flights
    seconds: 30
    old: {colour: blue, port: 8001}
    new: {colour: green, port: 8002}
    share: true
    errors: 0.01
    p99: 3
    psi: 0.25
    requests: 100
"""

RETURN = r"""
gates: {description: What was measured., type: list, returned: always}
cause: {description: Which gate failed., type: str, returned: failure}
"""

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
        requests, failed = proxy_counts(want["socket"], want["service"], server)
        before, failed_before = (
            proxy_counts(want["socket"], want["service"], want["old"]["colour"])
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


def main():
    number = {"type": "float", "required": True}
    module = AnsibleModule(
        argument_spec={
            "service": {"type": "str", "required": True},
            "seconds": number,
            "old": {"type": "dict", "default": {}},
            "new": {"type": "dict", "required": True},
            "share": {"type": "bool", "required": True},
            "errors": number,
            "p99": number,
            "psi": number,
            "requests": {"type": "int", "required": True},
            "probe": {"type": "str", "default": ""},
            "socket": {"type": "path", "default": "/run/haproxy.sock"},
        },
    )
    watch = Watch(module.params)
    until = time.monotonic() + module.params["seconds"]
    while True:
        last, gates = time.monotonic() >= until, watch.judge()
        words = in_words(gates) or ("" if watch.answers() else "the new container stopped answering /readyz")
        if words:
            cause = "refused while it answered live requests: " + words
            module.fail_json(msg=cause, cause=cause, gates=gates)
        if last:
            module.exit_json(changed=False, gates=gates)
        time.sleep(POLL)


if __name__ == "__main__":
    main()
