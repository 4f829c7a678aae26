#!/usr/bin/python
"Copy the requests that the live release answers to a new one, and compare the answers: nobody gets the new ones."

import glob
import json
import os
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.rollout import ask, gate, in_words, predictions_in, psi_of_values, read_probe

DOCUMENTATION = r"""
module: shadow_compared
short_description: Compare a new release with the live one on the live one's requests
description:
  - Takes requests and answers from the prediction log of the live release. First the last ones that it holds (replayed), then
    for some seconds each new one. The way of a client's request is not touched.
options:
  log: {description: Folder of the prediction log., type: path, required: true}
  release: {description: Id of the live release., type: str, required: true}
  port: {description: Where the new container is published on 127.0.0.1., type: int, required: true}
  replay: {description: How many requests of the past to replay., type: int, required: true}
  seconds: {description: How long to follow the live ones., type: float, required: true}
  errors: {description: Share of the requests that the new release may refuse., type: float, required: true}
  psi: {description: The largest population stability index of the predictions., type: float, required: true}
  requests: {description: With fewer predictions the distribution is not judged., type: int, required: true}
  probe: {description: File with the key of the deployment., type: str, default: ""}
author: [The mlkit developers]
"""

EXAMPLES = r"""
- name: Shadow the live release
  shadow_compared:
    log: /var/lib/mlkit/flights/predictions
    release: flights-2-0f5c2a9be1d7
    port: 8002
    replay: 1000
    seconds: 30
    errors: 0.01
    psi: 0.25
    requests: 100
"""

RETURN = r"""
gates: {description: What was measured., type: list, returned: always}
compared: {description: Requests, predictions, how many differ, by how much at most, seconds at p99., type: dict, returned: always}
cause: {description: Which gate failed., type: str, returned: failure}
"""

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
            self.differing += one != other

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


def main():
    number, whole = {"type": "float", "required": True}, {"type": "int", "required": True}
    module = AnsibleModule(
        argument_spec={
            "log": {"type": "path", "required": True},
            "release": {"type": "str", "required": True},
            "port": whole,
            "replay": whole,
            "seconds": number,
            "errors": number,
            "psi": number,
            "requests": whole,
            "probe": {"type": "str", "default": ""},
        },
    )
    want = module.params
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
    gates = comparison.gates()
    if words := in_words(gates):
        cause = "refused in the shadow of the live release: " + words
        module.fail_json(msg=cause, cause=cause, gates=gates, compared=comparison.told())
    module.exit_json(changed=False, gates=gates, compared=comparison.told())


if __name__ == "__main__":
    main()
