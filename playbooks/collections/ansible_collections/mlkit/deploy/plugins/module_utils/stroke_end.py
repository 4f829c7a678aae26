"""The last stroke of a deployment on a host: it is recorded, or taken back, and the lock is given back.

    commit       write the state and the journal's next line; on the first host, that decides for all
    keep         the same where it was not done yet; the host itself then retires what was replaced (see recovery)
    take back    lead the clients to the old container again, remove what was prepared, and say so in the journal
    unlock       only give the lock back, as `keep` and `take back` do at their end
    leave        the same in doubt: the host ends the deployment by itself, as it does where the lock runs out

What has to be recorded was written down by the stroke before. A lock that was lost is taken again to take back where nobody has it and the host is as this
deployment left it; if not, nothing is touched.
"""

import os
import time

from .deploy_lock import OWNER, Held, Lost, release, take
from .failed import Failed
from .host_look import look_at_host
from .journal_chain import append
from .keeping import commit, journal_of, last_lines, line_of, retire, settle
from .pending import clear_pending, read_pending
from .proxy_config import Refused
from .proxy_piece import lead_clients
from .service_records import recorded

PATIENCE = 60  # seconds: a host that ends the deployment by itself is waited for


def end(step):
    ways = {"commit": only_commit, "keep": keep, "take back": take_back, "unlock": unlock, "leave": unlock}
    return ways[step.want["stroke"]](step)


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

    What could not be recorded the host ends by itself, too, and has the lock for that at once. Raises `Failed`, which says whether it does so, where that
    can be said (`ends_by_itself`).
    """
    want = step.want
    pending, entry = wait_for_hold(step)
    if entry:
        return {"entry": entry}
    try:
        entry = commit(pending, want["entry"], step)
        settle(pending, step)
    except (Failed, OSError) as error:
        if recorded(os.path.join(want["home"], want["service"])) != want["entry"]["deployment"]:
            raise
        raise Failed(f"it is recorded, but {error}", ends_by_itself=True, **({"entry": entry} if entry else {})) from error
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
            why = "the lock was lost, and the host went back by itself or another deployer was here: see mlkit status"
            raise Failed(why, ends_by_itself=False)
        try:
            hold(step)
            if read_pending(folder) == pending:
                return pending, None
        except Held as held:
            if held.owner != OWNER or time.monotonic() > until:
                raise Failed(str(held), ends_by_itself=False) from held
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
    draining, stays = list(want["drain"]), ""
    if want["switched"]:
        try:
            draining += lead_clients(want, plan["old"]["listen"] if plan["old"] else 0, plan["old"])
        except (Refused, OSError) as error:
            stays = f"the old container could not be given the requests again: {error}"
    step.fence()
    clear_pending(want["service"], folder, want["entry"]["deployment"])
    entry, log = append(journal_of(folder), want["entry"]), last_lines(engine, plan["container"])
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

