"""A host goes back by itself when the deployment that switched it died: its deployer, or the way to it.

Between a switch and its record the proxy knows two containers, and whoever holds the lock will record or take back. When
the lock runs out, nobody will. So a process on the host watches the lock for as long as it is held, and then does what the
deployment would have done: the recorded container gets all requests again, and the journal says why.

    watch_over(folder, service, token, engine)    start that process; it ends with the lock
"""

import json
import os
import subprocess
import time
import uuid

from ansible.module_utils.container_engine import find
from ansible.module_utils.deploy_lock import Held, look, ran_out, release, take
from ansible.module_utils.detached import run_detached
from ansible.module_utils.journal_chain import append
from ansible.module_utils.proxy_config import reload
from ansible.module_utils.proxy_state import keep_only, servers, wait_for_end

POLL = 1.0
SECONDS = 120  # longer than going back takes
OWNER = "the host itself"


def watch_over(folder, service, token, engine):
    "Start the watching process."
    path = os.path.join(folder, "lock.json")

    def watch():
        wait_until_ended(path, token)
        if ran_out(path, token):
            go_back_locked(folder, service, engine)

    run_detached(watch, f"{service} could not go back by itself")


def wait_until_ended(path, token):
    "Wait until this token does not hold the lock any more."
    while (look(path) or {}).get("token") == token:
        time.sleep(POLL)


def go_back_locked(folder, service, engine):
    path, token = os.path.join(folder, "lock.json"), uuid.uuid4().hex
    if len(servers(service)) < 2:
        return
    try:
        take(path, OWNER, token, SECONDS, "going back")
    except Held:
        return
    try:
        go_back(folder, service, find(engine))
    finally:
        release(path, token)


def go_back(folder, service, engine):
    "Give all requests to the recorded container."
    with open(os.path.join(folder, "state.json"), encoding="utf-8") as file:
        state = json.load(file)
    left = [server for server in servers(service) if server["colour"] != state["colour"]]
    if not left:
        return
    keep_only(service, state["colour"])
    before = reload()
    reason = "its deployment gave no sign of life until the lock ran out: the host went back by itself"
    entry = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "by": OWNER,
        "service": service,
        "release": state["release"],
        "outcome": "went back",
        "reason": reason,
    }
    append(os.path.join(folder, "journal.jsonl"), entry)
    wait_for_end(before, SECONDS / 2)
    for server in left:
        subprocess.run([engine, "stop", f"mlkit-{service}-{server['colour']}"], check=True)
