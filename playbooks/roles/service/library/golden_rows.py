#!/usr/bin/python
"Replay the golden rows of a release through a server, and compare the predictions to the bit."

import json
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.rollout import ask, gate, read_probe

DOCUMENTATION = r"""
module: golden_rows
short_description: Replay golden rows and compare the predictions to the bit
description:
  - Posts the rows to C(/predict) and compares each prediction with the recorded one by exact equality of the parsed
    JSON numbers. Says which row differs first, and both values.
options:
  golden: {description: The golden.json of the release on this host., type: path, required: true}
  port: {description: Where to ask on 127.0.0.1., type: int, required: true}
  model: {description: Digest of the model that must answer., type: str, required: true}
  seconds:
    description:
      - How long the answers may come from another model or not at all. A proxy that was reloaded a moment ago may
        still let its old process answer.
    type: int
    default: 0
  probe: {description: File with the key of the deployment., type: str, default: ""}
  tls: {description: Whether TLS is spoken there., type: bool, default: false}
author: [The mlkit developers]
"""

EXAMPLES = r"""
- name: Replay the golden rows through the new container
  golden_rows:
    golden: /var/lib/mlkit/flights/releases/flights-3-1a2b3c4d5e6f/golden.json
    port: 8002
    model: sha256:0f5c
"""

RETURN = r"""
gates: {description: The gate for the journal., type: list, returned: success}
rows: {description: How many rows agreed., type: int, returned: success}
cause: {description: What differs., type: str, returned: failure}
"""


def same(one, other):
    "Equal numbers, or lists of equal numbers; true is not 1."
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


def main():
    module = AnsibleModule(
        argument_spec={
            "golden": {"type": "path", "required": True},
            "port": {"type": "int", "required": True},
            "model": {"type": "str", "required": True},
            "seconds": {"type": "int", "default": 0},
            "probe": {"type": "str", "default": ""},
            "tls": {"type": "bool", "default": False},
        },
        supports_check_mode=False,
    )
    want = module.params
    with open(want["golden"], encoding="utf-8") as file:
        golden = json.load(file)
    key, data = read_probe(want["probe"]), json.dumps({"rows": golden["rows"]}).encode()
    until = time.monotonic() + want["seconds"]
    while True:
        cause, again = judge(
            *ask(want["port"], "/predict", key, data, 30, want["tls"]), golden, want["model"]
        )
        if cause is None:
            rows = len(golden["rows"])
            module.exit_json(changed=False, rows=rows, gates=[gate("golden rows that differ", 0, 0, rows)])
        if not again or time.monotonic() >= until:
            module.fail_json(msg=cause, cause=cause)
        time.sleep(0.1)


if __name__ == "__main__":
    main()
