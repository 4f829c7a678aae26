#!/usr/bin/python
"The last stroke of a deployment on a host: it is recorded and the old container retired, or taken back; and the lock is given back."

import os
import time

from ansible.module_utils.deploy_lock import Held, Lost, release, take
from ansible.module_utils.deployment_plan import prunable, releases_after, state_after
from ansible.module_utils.host_look import look_at_host
from ansible.module_utils.journal_chain import append
from ansible.module_utils.keeping import last_lines, record, require_serving, retire, settle
from ansible.module_utils.proxy_config import Refused
from ansible.module_utils.proxy_piece import lead_clients
from ansible.module_utils.stroke import Failed, run_stroke

DOCUMENTATION = r"""
module: deployment_ended
short_description: Record a deployment or take it back, and give the lock back
description:
  - C(keep) writes the state and the journal's next line. From then on the new container comes back after a reboot. The old one
    finishes its requests and is stopped - its log can still be read - and releases that are kept no longer go.
  - C(take back) leads the clients to the old container again, removes what was prepared, and says so in the journal. A lock that was
    lost is taken again where nobody has it and the host is as this deployment left it; if not, nothing is touched.
  - C(unlock) only gives the lock back, as the others do at their end. What could not be recorded keeps it - when it runs out, the host
    goes back by itself.
options:
  do: {description: How it ends., type: str, required: true, choices: [keep, take back, unlock]}
  home: {description: Where services keep their state., type: path, required: true}
  service: {description: Name of the service., type: str, required: true}
  begun: {description: What deployment_begun returned., type: dict, default: {}}
  entry: {description: What the journal says., type: dict, default: {}}
  listen: {description: The service's port., type: int, required: true}
  rollback: {description: Whether the release was live before., type: bool, default: false}
  keep_releases: {description: How many releases stay., type: int, default: 3}
  keep_megabytes: {description: How much their images may take; 0 for no limit., type: int, default: 0}
  switched: {description: Whether the new container may get requests., type: bool, default: false}
  drain: {description: Processes of the proxy that finish their requests., type: list, elements: str, default: []}
  drain_seconds: {description: How long they may take., type: int, default: 30}
  stop_seconds: {description: How long a container may take to stop., type: int, default: 30}
  lock: {description: "Owner, seconds and why of a lock that has to be taken again.", type: dict, default: {}}
  proxy: {description: The proxy's configuration; see proxy_piece., type: dict, default: {}}
  certificate: {description: Chain and key of the proxy's piece., type: str, default: ""}
  fence: {description: The lock under which it is done; see deploy_lock., type: dict, required: true}
author: [The mlkit developers]
"""

EXAMPLES = r"""
- name: Record the deployment, or take it back
  host_step:
    module: deployment_ended
    do: keep
    home: /var/lib/mlkit
    service: flights
"""

RETURN = r"""
entry: {description: The journal's new line., type: dict, returned: success}
log: {description: The last lines of the container that was taken back., type: str, returned: when taken back}
left: {description: Whether nothing was taken back, since another deployer may have been here., type: bool, returned: failure}
cause: {description: What could not be done., type: str, returned: failure}
"""


def end(step):
    return {"keep": keep, "take back": take_back, "unlock": unlock}[step.want["do"]](step)


def unlock(step):
    fence = step.want["fence"]
    if os.path.isdir(os.path.dirname(fence["path"])):
        release(fence["path"], fence["token"])
    return {"changed": False}


def keep(step):
    "Record what is live, then retire what was. What is not recorded keeps the lock: when it runs out, the host goes back by itself."
    want, begun = step.want, step.want["begun"]
    engine, plan, wanted = begun["engine"], begun["plan"], begun["release"]
    folder = os.path.join(want["home"], want["service"])
    seen = look_at_host(want["home"], want["service"], engine, step.run)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    staying = releases_after(seen, wanted, want["keep_releases"], want["keep_megabytes"])
    state = state_after(
        seen["services"][want["service"]]["state"],
        wanted,
        plan["colour"],
        want["listen"],
        now,
        staying,
        want["rollback"],
    )
    gone = prunable(seen, want["service"], state["kept"])
    step.fence()
    require_serving(engine, plan["container"], want["service"], "does not run or gets no requests, so nothing was recorded")
    entry = record(folder, state, want["entry"])
    try:
        settle(engine, plan["container"], want["service"], plan["colour"], step.run)
        retired = {
            "drain": want["drain"],
            "drain_seconds": want["drain_seconds"],
            "stop": plan["old"]["container"] if plan["old"] else "",
            "stop_seconds": want["stop_seconds"],
            "containers": [each for one in gone for each in one["containers"]],
            "images": [one["tag"] for one in gone if one["tag"]],
            "releases": [one["id"] for one in gone],
        }
        retire(engine, want["service"], folder, retired, step)
        require_serving(engine, plan["container"], want["service"], "is recorded as live, and does not run or gets no requests")
    finally:
        unlock(step)
    return {"entry": entry}


def take_back(step):
    "Lead the clients back where that was not done yet, and remove what was prepared."
    try:
        return remove_prepared(step)
    finally:
        unlock(step)


def remove_prepared(step):
    want, begun = step.want, step.want["begun"]
    engine, plan, wanted = begun["engine"], begun["plan"], begun["release"]
    folder = os.path.join(want["home"], want["service"])
    regain_lock(step)
    log, draining, stays = last_lines(engine, plan["container"]), list(want["drain"]), ""
    if want["switched"]:
        try:
            draining += lead_clients(want, plan["old"]["listen"] if plan["old"] else 0, plan["old"])
        except (Refused, OSError) as error:
            stays = f"the old container could not be given the requests again: {error}"
    step.fence()
    entry = append(os.path.join(folder, "journal.jsonl"), want["entry"])
    retired = {
        "drain": draining,
        "drain_seconds": want["drain_seconds"],
        "containers": [plan["container"]],
        "images": [] if plan["image_present"] else [wanted["image"]["id"]],
        "releases": [] if plan["known"] else [wanted["id"]],
    }
    retire(engine, want["service"], folder, retired, step)
    if stays:
        raise Failed(stays, log=log)
    return {"entry": entry, "log": log}


def regain_lock(step):
    "Where the lock was lost: take it again, if nobody has it and the host is as we left it. Raises `Failed`."
    want, begun = step.want, step.want["begun"]
    path, token, asked = want["fence"]["path"], want["fence"]["token"], want["lock"]
    try:
        return step.fence()
    except Lost as lost:
        words = f"{lost}; {{}}, so {begun['release']['id']} is left as it is: see what runs (mlkit status), then deploy again"
    try:
        take(path, asked["owner"], token, int(asked["seconds"]), asked["why"])
    except Held as held:
        raise Failed(words.format("another deployer has the lock"), left=True) from held
    seen = look_at_host(want["home"], want["service"], begun["engine"], step.run)
    now, plan = seen["services"][want["service"]], begun["plan"]
    running = [container["name"] for container in now["containers"] if container["running"]]
    ours = [plan["container"], *([plan["old"]["container"]] if plan["old"] else [])]
    if now["state"] != begun["state"] or not set(ours) <= set(running):
        raise Failed(words.format("another deployer was here since, or the host went back by itself"), left=True)


if __name__ == "__main__":
    options = {
        "do": {"type": "str", "required": True, "choices": ["keep", "take back", "unlock"]},
        "home": {"type": "path", "required": True},
        "service": {"type": "str", "required": True},
        "begun": {"type": "dict", "default": {}},
        "entry": {"type": "dict", "default": {}},
        "listen": {"type": "int", "required": True},
        "rollback": {"type": "bool", "default": False},
        "keep_releases": {"type": "int", "default": 3},
        "keep_megabytes": {"type": "int", "default": 0},
        "switched": {"type": "bool", "default": False},
        "drain": {"type": "list", "elements": "str", "default": []},
        "drain_seconds": {"type": "int", "default": 30},
        "stop_seconds": {"type": "int", "default": 30},
        "lock": {"type": "dict", "default": {}},
        "proxy": {"type": "dict", "default": {}},
        "certificate": {"type": "str", "default": "", "no_log": True},
        "fence": {"type": "dict", "required": True},
    }
    run_stroke(end, options)
