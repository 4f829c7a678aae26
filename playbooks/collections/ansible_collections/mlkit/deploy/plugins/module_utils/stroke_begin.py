"""The first stroke of a deployment on a host: take the lock, look, and decide what has to happen. Nothing that serves is touched.

Where nothing has to happen, the lock is given back at once. When it runs out, the host goes back by itself (see recovery). In check mode nothing is
locked. Who signed the release is checked, and its signature against that of the live one; what is done later comes from the text of release.json
that was checked. A release that the host keeps is looked for where none is given, for a rollback.
"""

import json
import os
import time

from .deploy_lock import ENDING, OWNER, Held, look, release, take
from .deployment_plan import release_of, rollback_target, service_plan
from .failed import Failed
from .host_look import look_at_host
from .image_layers import Incoming
from .pending import read_pending
from .recovery import end_pending, watch_over
from .release_trust import accepted, texts_of
from .service_records import recorded

RECENT = 10.0  # seconds: a lock that is older was not taken at the same moment


def begin(step):
    "What has to happen. Where that is nothing, the lock is given back at once."
    if step.check_mode:
        return foresee(step)
    want, folder = step.want, os.path.join(step.want["home"], step.want["service"])
    lock(folder, want)
    # What the last deployment replaced may still be finishing its requests. Where nothing is changed, that needs no waiting for.
    found = decide(step) if is_recorded(folder) else None
    if not found or changes(found):
        end_pending(folder, want["service"], want["engine"], want["lock"]["token"])
        found = decide(step)
    if not changes(found):
        release(os.path.join(folder, "lock.json"), want["lock"]["token"])
    return found


def foresee(step):
    "What would happen, without a lock; whether somebody has it is said, and who (`owner`)."
    found, held = decide(step), look(os.path.join(step.want["home"], step.want["service"], "lock.json"))
    if held and held["owner"] not in (step.want["dead"], OWNER) and found.get("plan", {}).get("change"):
        found["plan"]["summary"] += f"; but not now, for the host is locked: {Held(held, time.time())}"
        found["owner"] = held["owner"]
    return found


def is_recorded(folder):
    "Whether a deployment waits here only for what it replaced to go."
    pending = read_pending(folder)
    return bool(pending) and pending["deployment"] == recorded(folder)


def changes(found):
    "Whether anything has to happen, be it that the host lacks something."
    return not found.get("plan") or found["plan"]["change"]


def decide(step):
    want, folder = step.want, os.path.join(step.want["home"], step.want["service"])
    seen = look_at_host(want["home"], want["service"], want["engine"], step.run)
    lacks = [part for part in ("engine", "proxy") if not seen[part]]
    if lacks:
        return {"changed": False, "lacks": lacks}
    rollback, here = not want["texts"], seen["services"][want["service"]]
    texts, place = want["texts"], None
    if rollback:
        target = rollback_target(seen, want["service"], want["release_id"])
        place = os.path.join(folder, "releases", target["id"])
        texts = texts_of(place)
    signer = accepted(texts, want["signers"], place, kept=rollback)
    wanted = release_of(json.loads(texts["release.json"]))
    # A rollback goes to what clients knew.
    plan = service_plan(
        seen, wanted, want["listen"], want["settings"], "a rollback" if rollback else want["breaking"]
    )
    missing = {}
    if plan["change"] and not rollback and not step.check_mode:
        missing = missing_layers(seen["engine"], folder, {**wanted["image"], **want["image"]}, step.run)
    return {
        "changed": False,
        "lacks": [],
        "engine": seen["engine"],
        "plan": plan,
        "release": wanted,
        "signer": signer,
        "state": here["state"],
        "missing": missing,
    }


def lock(folder, want):
    "Take the lock, and have the host go back by itself when it runs out. Raises `Failed`."
    path, asked = os.path.join(folder, "lock.json"), want["lock"]
    os.makedirs(folder, mode=0o755, exist_ok=True)
    began = time.monotonic()
    while True:
        try:
            new = take(path, asked["owner"], asked["token"], int(asked["seconds"]), asked["why"])
            break
        except Held as held:
            if held.owner == want["dead"]:
                release(path, held.token)
            elif not is_worth_waiting(held, time.monotonic() - began, want["patience"]):
                cause = f"locked: {held}. Wait, or take it away: {asked['break_with']}"
                raise Failed(cause, owner=held.owner) from held
            else:
                time.sleep(0.2)
    if new["taken"] == new["heartbeat"]:  # not one's own again
        watch_over(folder, want["service"], asked["token"], want["engine"])


def is_worth_waiting(held, waited, patience):
    "Whether it is worth waiting: for a host that ends a deployment by itself, or for whoever took the lock at the same moment."
    return waited < ENDING if held.owner == OWNER else held.age <= RECENT and waited <= patience


def missing_layers(engine, folder, image, run):
    "What has to be sent. A registry is asked first, and that may take long: then nothing is known yet."
    incoming = Incoming(engine, folder, image, run)
    return {} if image["reference"] or incoming.present() else incoming.missing()

