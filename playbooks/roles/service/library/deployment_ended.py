#!/usr/bin/python
"The last stroke of a deployment on a host: it is recorded and the old container retired, or taken back; and the lock is given back."

import os
import time

from ansible.module_utils.deploy_lock import OWNER, Held, Lost, release, take
from ansible.module_utils.failed import Failed
from ansible.module_utils.host_look import look_at_host
from ansible.module_utils.journal_chain import append
from ansible.module_utils.keeping import commit, journal_of, last_lines, line_of, retire, settle
from ansible.module_utils.pending import clear_pending, read_pending
from ansible.module_utils.proxy_config import Refused
from ansible.module_utils.proxy_piece import lead_clients
from ansible.module_utils.service_records import recorded
from ansible.module_utils.stroke import run_stroke

DOCUMENTATION = r"""
module: deployment_ended
short_description: Record a deployment or take it back, and give the lock back
description:
  - C(commit) writes the state and the journal's next line. On the first host that decides for all.
  - C(keep) does so where it was not done yet. What it needs was written down by deployment_switched. The host itself then lets the old
    container finish its requests and stops it - its log can still be read - and releases that are kept no longer go.
  - C(take back) leads the clients to the old container again, removes what was prepared, and says so in the journal. A lock that was
    lost is taken again where nobody has it and the host is as this deployment left it; if not, nothing is touched.
  - C(unlock) only gives the lock back, as C(keep) and C(take back) do at their end. What could not be recorded keeps it - when it runs
    out, the host ends the deployment by itself. C(leave) has it do so at once.
options:
  do: {description: How it ends., type: str, required: true, choices: [commit, keep, take back, unlock, leave]}
  home: {description: Where services keep their state., type: path, required: true}
  service: {description: Name of the service., type: str, required: true}
  begun: {description: What deployment_begun returned., type: dict, default: {}}
  entry: {description: What the journal says., type: dict, default: {}}
  listen: {description: The service's port., type: int, required: true}
  switched: {description: Whether the new container may get requests., type: bool, default: false}
  drain: {description: Processes of the proxy that finish their requests., type: list, elements: str, default: []}
  drain_seconds: {description: How long they may take., type: int, default: 30}
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
committed: {description: Whether the deployment counts now, for all its hosts., type: bool, returned: when committed}
log: {description: The last lines of the container that was taken back., type: str, returned: when taken back}
left: {description: Whether nothing was taken back, since another deployer may have been here., type: bool, returned: failure}
cause: {description: What could not be done., type: str, returned: failure}
"""

PATIENCE = 60  # seconds: a host that ends the deployment by itself is waited for


def end(step):
    ways = {"commit": only_commit, "keep": keep, "take back": take_back, "unlock": unlock, "leave": unlock}
    return ways[step.want["do"]](step)


def unlock(step):
    fence = step.want["fence"]
    if os.path.isdir(os.path.dirname(fence["path"])):
        release(fence["path"], fence["token"])
    return {"changed": False}


def only_commit(step):
    "Record what is live, on the host that decides."
    pending, entry = wait_for_hold(step)
    try:
        return {"committed": True, "entry": entry or commit(pending, step.want["entry"], step)}
    except OSError:
        if recorded(os.path.join(pending["home"], pending["service"])) != pending["deployment"]:
            raise
        return {"committed": True}  # what is missing, in the journal, is made good or told when it is kept


def keep(step):
    """Record what is live. What was is retired by the host itself, as soon as it has the lock (see recovery).

    What is not recorded keeps the lock: when it runs out, the host ends it by itself, too.
    """
    pending, entry = wait_for_hold(step)
    if not entry:
        entry = commit(pending, step.want["entry"], step)
        try:
            settle(pending, step)
        finally:
            unlock(step)
    return {"entry": entry}


def wait_for_hold(step):
    """What is pending, under the lock, which is taken again where it ran out; or the journal's line, where the host has recorded it by itself.

    Raises `Failed` where another deployment has the host, or the host went back.
    """
    want, until = step.want, time.monotonic() + PATIENCE
    folder = os.path.join(want["home"], want["service"])
    while True:
        pending = read_pending(folder)
        if not pending or pending["deployment"] != want["entry"]["deployment"]:
            if entry := line_of(folder, want["entry"]["deployment"]):
                return None, entry
            raise Failed("the lock was lost, and the host went back by itself or another deployer was here: see mlkit status")
        try:
            hold(step)
            if read_pending(folder) == pending:
                return pending, None
        except Held as held:
            if held.owner != OWNER or time.monotonic() > until:
                raise
            time.sleep(1)


def hold(step):
    "Have the lock, also where it ran out and nobody has taken it. Raises `Held`."
    try:
        step.fence()
    except Lost:
        fence, asked = step.want["fence"], step.want["lock"]
        take(fence["path"], asked["owner"], fence["token"], int(asked["seconds"]), asked["why"])


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
    clear_pending(want["service"], folder, want["entry"]["deployment"])
    entry = append(journal_of(folder), want["entry"])
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
        "do": {"type": "str", "required": True, "choices": ["commit", "keep", "take back", "unlock", "leave"]},
        "home": {"type": "path", "required": True},
        "service": {"type": "str", "required": True},
        "begun": {"type": "dict", "default": {}},
        "entry": {"type": "dict", "default": {}},
        "listen": {"type": "int", "required": True},
        "switched": {"type": "bool", "default": False},
        "drain": {"type": "list", "elements": "str", "default": []},
        "drain_seconds": {"type": "int", "default": 30},
        "lock": {"type": "dict", "default": {}},
        "proxy": {"type": "dict", "default": {}},
        "certificate": {"type": "str", "default": "", "no_log": True},
        "fence": {"type": "dict", "required": True},
    }
    run_stroke(end, options)
