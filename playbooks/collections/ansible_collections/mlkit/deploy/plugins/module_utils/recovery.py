"""A host ends a deployment by itself when its deployer has died, or the way to it, or when it lost power in the middle.

Before the switch to a release is pending, the host goes back: the recorded container gets all requests. After that others may have
recorded it, so the host asks the one that decides, and then the others (see pending):

    one has recorded the deployment       this host records it, too
    the first has not, and gave it up     this host goes back
    nobody can say                        the recorded release serves, the new one stands by; asked again until somebody can

Where it is recorded here, only what it replaced has to go: the old container finishes its requests and is stopped. No deployer waits for
that. The same process does it, and after a crash the next deployment or the next boot.

A host that was down may have missed a deployment as a whole. When it boots it stays out of the balancer until another host tells of none
that was meant for it and that it does not know, or until the next deployment.

    watch_over(folder, service, token, engine)    start the process that does so when the lock ends
    end_pending(folder, service, engine, token)   the same at once, for a deployment that has the lock: in doubt it goes back
    recover(folder, service, engine)              what the host runs when it boots; see recover_at_boot
"""

import os
import sys
import syslog
import time
import uuid

from .container_engine import complete, find
from .deploy_lock import OWNER, Held, break_lock, fence, look, ran_out, release, take
from .detached import run_detached
from .failed import Failed
from .journal_chain import append
from .keeping import commit, entries_of, finish, journal_of, said, served, stop_replaced
from .new_container import wait_until_ready
from .pending import (
    clear_pending,
    digest_of_token,
    mark,
    note_trouble,
    publish,
    read_pending,
    stay_out,
    told_by,
    told_by_all,
)
from .proxy_config import reload
from .proxy_piece import lead_clients
from .proxy_state import keep_only, servers, wait_for_end
from .service_records import recorded, state_of

POLL = 1.0
AGAIN = 5.0  # seconds between two questions
SILENCE = 30.0  # seconds: then those that could tell of a missed deployment are down themselves
SECONDS = 120  # longer than going back takes
CUT_OFF = "the deployment was cut off before it was recorded here"


class Host:
    "What a stroke is given (see stroke), for a host that works by itself under a lock of its own."

    def __init__(self, path, token):
        self.given = {"path": path, "token": token}

    def run(self, words, check_rc=False):
        done = complete(words, capture_output=True, text=True, errors="replace")
        if check_rc and done.returncode:
            raise Failed(f"{' '.join(words)}: {(done.stderr or done.stdout).strip()}")
        return done.returncode, done.stdout, done.stderr

    def fence(self):
        fence(self.given)


def watch_over(folder, service, token, engine):
    "Start the watching process; it ends with the lock."
    path = os.path.join(folder, "lock.json")

    def watch():
        while (look(path) or {}).get("token") == token:
            time.sleep(POLL)
        if read_pending(folder):
            settle(folder, service, engine)
        elif ran_out(path, token):
            go_back_locked(folder, service, engine)

    run_detached(watch, f"{service} could not go back by itself")


def settle(folder, service, engine):
    "End what is pending, as soon as somebody can say how. Until then the recorded release serves."
    said = ""
    while True:
        try:
            publish(service, folder)  # a proxy that came up just now, or a disk that was full, may not have it
            if settle_once(folder, service, engine):
                return
        except Exception as error:
            # The engine or the proxy may not be there yet, after a power cut: whatever it is, one can only ask again.
            if str(error) != said:
                said = str(error)
                complain(service, folder, said)
        time.sleep(AGAIN)


def complain(service, folder, why):
    "Say in the log of the system, and in `mlkit status`, why a deployment is not at its end."
    syslog.syslog(syslog.LOG_WARNING, f"mlkit: the last deployment of {service} is not at its end: {why}")
    try:
        note_trouble(folder, why)
    except OSError:  # a full disk, say: the log has it
        return


def settle_once(folder, service, engine):
    "Whether nothing is pending any more, or another deployment goes on with it."
    pending = read_pending(folder)
    if not pending:
        return True
    if recorded(folder) == pending["deployment"]:
        stop_replaced(pending)
    path, token = os.path.join(folder, "lock.json"), uuid.uuid4().hex
    try:
        take(path, OWNER, token, SECONDS, "ending a deployment")
    except Held:
        return False
    try:
        if read_pending(folder) != pending:
            return True
        committed = decision(pending, folder)
        if committed is not None or len(servers(service)) > 1:
            end(pending, committed, folder, find(engine), Host(path, token))
        return committed is not None
    finally:
        release(path, token)


def decision(pending, folder):
    "Whether the deployment is recorded, once its deployer has no lock here; None as long as nobody can say."
    deployment, (first, *others) = pending["deployment"], pending["hosts"]
    if recorded(folder) == deployment:
        return True
    if pending["host"] == first["name"]:
        return False
    told = told_by(first)
    if told and deployment not in (told.recorded, told.pending):
        return False
    answers = [told, *told_by_all(host for host in others if host["name"] != pending["host"])]
    return True if any(each and each.recorded == deployment for each in answers) else None


def end(pending, committed, folder, engine, step):
    "Record it, go back, or, in doubt, let the recorded release serve."
    service, plan = pending["service"], pending["begun"]["plan"]
    if committed:
        start(pending, engine, step)
        reason = f"{CUT_OFF}, and others had recorded it: the host recorded it by itself"
        commit(pending, {**pending["entry"], "reason": reason}, step)
        return finish(pending, step)
    old = plan["old"]
    if not old and committed is None:
        return None  # there is nothing else that could serve
    step.fence()
    before = lead_clients({**pending, "fence": step.given, "certificate": ""}, old["listen"] if old else 0, old)
    if committed is False:
        append(journal_of(folder), went_back(service, old["release"] if old else ""))
        clear_pending(service, folder, pending["deployment"])
        stop_others(engine, service, [plan["container"]], before)
    return None


def start(pending, engine, step):
    "Have the new container run and get the requests, as it did before the power was lost or the host was in doubt."
    service, plan, wanted = pending["service"], pending["begun"]["plan"], pending["begun"]["release"]
    step.run([engine, "start", plan["container"]], check_rc=True)
    model = wanted["model"]["digest"]
    wait_until_ready(engine, plan["container"], plan["port"], model, pending["stop_seconds"] + 60, step.run)
    if plan["port"] not in served(service):
        new = {key: plan[key] for key in ("colour", "port")}
        lead_clients({**pending, "fence": step.given, "certificate": ""}, pending["listen"], new, plan["old"])


def end_pending(folder, service, engine, token):
    "End what is pending, for a deployment that has the lock and replaces it. Raises `Failed`, `Lost`, `OSError`."
    pending, engine = read_pending(folder), find(engine)
    if pending and engine:
        host = Host(os.path.join(folder, "lock.json"), token)
        end(pending, bool(decision(pending, folder)), folder, engine, host)


def go_back_locked(folder, service, engine):
    path, token = os.path.join(folder, "lock.json"), uuid.uuid4().hex
    if len(servers(service)) < 2:
        return
    try:
        take(path, OWNER, token, SECONDS, "going back")
    except Held:
        return
    try:
        go_back(folder, service, engine)
    finally:
        release(path, token)


def go_back(folder, service, engine):
    "Give all requests to the recorded container."
    state = state_of(folder)
    left = [server for server in servers(service) if state and server["colour"] != state["colour"]]
    if not left:
        return
    keep_only(service, state["colour"])
    before = reload()
    append(journal_of(folder), went_back(service, state["release"]))
    stop_others(find(engine), service, [f"mlkit-{service}-{server['colour']}" for server in left], before)


def went_back(service, release_id):
    "What the journal says."
    return {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "by": OWNER,
        "service": service,
        "release": release_id,
        "outcome": "went back",
        "reason": f"{CUT_OFF}: the host went back by itself",
    }


def stop_others(engine, service, containers, draining):
    wait_for_end(draining, SECONDS / 2)
    for container in containers:
        said(engine, "stop", "--time", str(int(SECONDS / 2)), container)


def recover(folder, service, engine):
    "End what is pending, and stay out of the balancer as long as this host may have missed a deployment."
    state = state_of(folder) or {}
    others = [host for host in state.get("hosts", []) if host["name"] != state["host"]]
    wait = bool(others) and state["returns"] == "wait"
    stay_out(service, folder, wait)
    pending, lock = read_pending(folder), look(os.path.join(folder, "lock.json"))
    if pending and lock and digest_of_token(lock["token"]) == pending["token"]:
        break_lock(os.path.join(folder, "lock.json"))  # a deployer that is still there finds it lost
    is_recorded = bool(pending) and recorded(folder) == pending["deployment"]
    if not is_recorded:
        settle(folder, service, engine)
    if wait and not has_missed(folder, others):
        stay_out(service, folder, False)
    if is_recorded:  # what it replaced may take its time to stop: no balancer has to wait for that
        settle(folder, service, engine)


def has_missed(folder, others):
    "Whether another host tells of a deployment that was meant for this one and that it does not know. If none answers: no."
    known, until = {entry.get("deployment") for entry in entries_of(folder)}, time.monotonic() + SILENCE
    while True:
        told = [answer for answer in told_by_all(others) if answer]
        if any(mark(each.recorded, state_of(folder)["host"]) in each.marks for each in told if each.recorded not in known):
            return True
        if told or time.monotonic() > until:
            return False
        time.sleep(POLL)


if __name__ == "__main__":
    recover(*sys.argv[1:])
