"""What a deployment decides, as plain functions of what was asked and what a host said: no host is touched here.

What cannot be done comes back as `{"refused": why}`. The playbook then fails with that sentence alone, where an
exception in a filter would be wrapped three times in Ansible's own words.
"""

import functools
import json
import os
import re

NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
RELEASE_ID = re.compile(r"[a-z][a-z0-9-]{0,39}-\d+-[0-9a-f]{6,64}")
CAUSES = ("port taken: ", "disk full: ", "image could not be loaded: ")
OTHER = {"blue": "green", "green": "blue"}


class Refused(Exception):
    "What was asked cannot be done; the words say why and what to do."


def refusing(function):
    "Give a refusal back as data."

    @functools.wraps(function)
    def wrapped(*args):
        try:
            return function(*args)
        except Refused as refusal:
            return {"refused": str(refusal)}

    return wrapped


def read_record(path, format):
    "A JSON record of the given format."
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
    except ValueError as error:
        raise Refused(f"{path} is not JSON: {error}") from error
    if not isinstance(record, dict) or record.get("format") != format:
        said = record.get("format") if isinstance(record, dict) else type(record).__name__
        raise Refused(f"{path} has the format {said!r}, expected {format!r}: was it made by another mlkit?")
    return record


@refusing
def read_release(folder):
    "The record of the release in a folder, once the folder holds all that a host will need."
    if not folder:
        raise Refused(
            "say which release to deploy: -e release=PATH_TO_RELEASE_FOLDER (mlkit release makes one)"
        )
    folder = os.path.abspath(os.path.expanduser(folder))
    if not os.path.isdir(folder):
        raise Refused(
            f"there is no release folder {folder}: give the folder that mlkit release printed;"
            " a relative path starts where ansible-playbook was started"
        )
    for name in ("release.json", "golden.json"):
        if not os.path.isfile(os.path.join(folder, name)):
            raise Refused(f"{folder} is no release folder: it has no {name}")
    release = read_record(os.path.join(folder, "release.json"), "mlkit.release/1")
    try:
        wanted = {
            "id": release["id"],
            "name": release["name"],
            "version": release["version"],
            "image": {
                **{key: release["image"][key] for key in ("tag", "id", "archive")},
                "reference": release["image"].get("reference", ""),
                "layers": release["image"].get("layers", []),
            },
            "model": {"digest": release["model"]["digest"]},
            "verdict": release.get("verdict", ""),
            "signature": release.get("signature") or {},
            "override": (release.get("override") or {}).get("reason", "")
            if isinstance(release.get("override"), dict)
            else release.get("override") or "",
        }
    except (KeyError, TypeError) as error:
        raise Refused(f"{folder}/release.json lacks {error}: make the release again") from error
    if not NAME.fullmatch(str(wanted["name"])) or not RELEASE_ID.fullmatch(str(wanted["id"])):
        raise Refused(
            f"{folder}/release.json has the name {wanted['name']!r} and the id {wanted['id']!r};"
            " expected names like 'flights' and ids like 'flights-3-1a2b3c4d5e6f'"
        )
    archive = os.path.join(folder, os.path.basename(wanted["image"]["archive"]))
    if not os.path.isfile(archive):
        raise Refused(f"{wanted['id']} has no image: {archive} is missing")
    golden = read_record(os.path.join(folder, "golden.json"), "mlkit.golden/1")
    rows, predictions = golden.get("rows"), golden.get("predictions")
    if not (isinstance(rows, list) and isinstance(predictions, list) and len(rows) == len(predictions) > 0):
        raise Refused(f"{folder}/golden.json must have as many predictions as rows, and at least one")
    return {**wanted, "folder": folder, "archive": archive, "texts": read_texts(folder)}


def read_texts(folder):
    "The release's files that a host keeps, by name."
    texts = {}
    for name in ("release.json", "release.json.sig", "golden.json"):
        if os.path.isfile(os.path.join(folder, name)):
            with open(os.path.join(folder, name), encoding="utf-8", newline="") as file:
                texts[name] = file.read()
    return texts


def breaking_changes(live, release):
    """What clients of the live release would be refused for, or would read otherwise, a line each.

    `live` and `release` are what their release.json says. Where one of them has no signature, older than these, nothing is
    known and nothing is said.
    """
    old, new = ((each or {}).get("signature") or {} for each in (live, release))
    if not old or not new:
        return []
    before = {column["name"]: column for column in old["inputs"]}
    after = {column["name"]: column for column in new["inputs"]}
    lines = [f"input {name!r} is not known any more" for name in before if name not in after]
    for name, column in after.items():
        if name not in before:
            if not column.get("missing"):
                lines.append(f"input {name!r} is new, and every request must have it")
            continue
        lines += [f"input {name!r} {what}" for what in narrowed(before[name], column)]
    if old["output"] != new["output"]:
        lines.append("the output was {name} ({kind})".format(**old["output"]) + ", and is {name} ({kind})".format(**new["output"]))
    return lines


def narrowed(old, new):
    "What a column took and takes no longer."
    wider = {("integer", "number"), ("boolean", "integer"), ("boolean", "number")}
    found = []
    if old["type"] != new["type"] and (old["type"], new["type"]) not in wider:
        found.append(f"was {old['type']} and is {new['type']}")
    if old.get("missing") and not new.get("missing"):
        found.append("may not be missing any more")
    if new["type"] == old["type"] == "category" and new.get("unseen", "refuse") == "refuse":
        if old.get("unseen") == "missing":
            found.append("refuses levels that it does not know")
        elif gone := sorted(set(old.get("levels", ())) - set(new.get("levels", ()))):
            found.append(f"refuses the level{'s' if len(gone) > 1 else ''} {', '.join(map(repr, gone[:5]))}")
    return found


def unlike_its_record(release):
    "Why the values of a release are not those of its release.json, which may be signed; empty where they are."
    try:
        record = json.loads(release["texts"]["release.json"])
        same = (
            record["id"] == release["id"]
            and record["name"] == release["name"]
            and record["model"]["digest"] == release["model"]["digest"]
            and all(record["image"][key] == release["image"][key] for key in ("tag", "id", "archive"))
            and record["image"].get("layers", []) == release["image"]["layers"]
            and record["image"].get("reference", "") == release["image"]["reference"]
        )
    except (KeyError, TypeError, ValueError) as error:
        return f"release refused: its record cannot be read: {error!r}"
    return "" if same else f"release refused: {release['id']} is described otherwise than in its release.json"


@refusing
def service_name(name):
    'The name of a service, as `{"name": …}`, if it can be one.'
    if not name or not NAME.fullmatch(str(name)):
        raise Refused(
            f"{name!r} is no service: say which with -e service=NAME, for example -e service=flights"
            " (lower-case letters, digits, dashes)"
        )
    return {"name": name}


@refusing
def service_plan(seen, release, port, settings, breaking=""):
    """What has to happen so that `release` is live: the new container's place and the old container, as data.

    `seen` is what service_info returned. Nothing changes when the proxy already sends the service's port to a healthy
    container of this release, made with these settings, and the state agrees. A release whose signature breaks the clients
    of the live one is refused, unless `breaking` says why that is meant.
    """
    name = release["name"]
    for other, taken in sorted(seen["ports"].items()):
        if other != name and abs(taken - port) < 3:
            raise Refused(
                f"port taken: {name} wants the ports {port} to {port + 2} and the service {other} has"
                f" {taken} to {taken + 2}; give each its own in the inventory, e.g. service_ports="
                + json.dumps({other: taken, name: taken + 10})
            )
    ports = {"blue": port + 1, "green": port + 2}
    here = seen["services"][name]
    live, state = here["live"], here["state"] or {}
    model = release["model"]["digest"]
    healthy = bool(
        live
        and live["running"]
        and live["release"] == release["id"] == state.get("release")
        and live["image"] == release["image"]["id"]
        and live["settings"] == settings
        and live["port"] == ports[live["colour"]]
        and state.get("port") == port
        and live["model"] == live["model_through_proxy"] == model
    )
    breaks = breaking_changes(here["releases"].get(live["release"]) if live else None, release)
    if breaks and not breaking.strip() and not healthy:
        raise Refused(
            f"{release['id']} would break the clients of {live['release']}: {'; '.join(breaks[:10])}. Where that is meant,"
            ' say why: mlkit deploy … --breaking "WHY", or -e \'{"service_breaking": "WHY"}\''
        )
    colour = OTHER[live["colour"]] if live else "blue"
    old = live and {
        "release": live["release"] or "a container that is gone",
        "colour": live["colour"],
        "port": live["port"],
        "container": f"mlkit-{name}-{live['colour']}",
        "listen": state.get("port", port),
    }
    if healthy:
        summary = f"{release['id']} is live and healthy: nothing to do"
    else:
        summary = f"{release['id']} goes to {colour} on port {ports[colour]}" + (
            f", beside {old['release']} ({old['colour']}), which serves until the switch"
            if old
            else ", the first of its name"
        )
    return {
        "change": not healthy,
        "breaks": breaks,
        "summary": summary,
        "colour": colour,
        "port": ports[colour],
        "container": f"mlkit-{name}-{colour}",
        "old": old,
        "image_present": release["image"]["id"] in seen["images"],
        "known": release["id"] in here["releases"],
    }


@refusing
def rollback_target(seen, service, release_id=""):
    "The kept release to go back to: the one named, or the last good one before the one that is live."
    here = seen["services"][service]
    state, live, kept = here["state"], here["live"], here["releases"]
    if not state:
        others = ", ".join(sorted(seen["ports"])) or "none"
        raise Refused(
            f"{service} was never deployed here, so there is nothing to go back to; services here: {others}"
        )
    good = [entry["release"] for entry in state["history"]]
    usable = [each for each in state["kept"] if kept.get(each, {}).get("image_present")]
    if release_id:
        if release_id not in usable:
            raise Refused(
                f"{release_id} is not kept here; kept, newest first: {', '.join(usable) or 'none'}."
                " Deploy it again from its folder with playbooks/deploy.yml"
            )
        return kept[release_id]
    current = (live or {}).get("release") or state["release"]
    before = good[good.index(current) + 1 :] if current in good else good
    for each in before:
        if each in usable:
            return kept[each]
    raise Refused(
        f"{service} has no good release before {current} here; kept: {', '.join(usable) or 'none'} (name one with -e release_id=…)"
    )


def releases_after(seen, release, keep, megabytes):
    """The ids of the releases that stay on the host once `release` is live, which comes first.

    No more than `keep`, and, unless `megabytes` is 0, no more than fit: a layer that several share counts once. The live one
    and the one that a rollback would go back to stay whatever their size.
    """
    here = seen["services"][release["name"]]
    before = here["state"]["kept"] if here["state"] else []
    records, kept, layers = {**here["releases"], release["id"]: release}, [], {}
    for each in [release["id"], *(other for other in before if other != release["id"])][:keep]:
        image = records.get(each, {}).get("image", {})
        more = {layer["digest"]: layer["bytes"] for layer in image.get("layers", [])}
        if megabytes and len(kept) >= 2 and sum({**layers, **more}.values()) > megabytes * 1e6:
            break
        layers.update(more)
        kept.append(each)
    return kept


def state_after(state, release, colour, port, when, kept, rollback):
    """The state once `release` is live.

    `history` holds the good releases, newest first, and a rollback forgets those that it went back over, so that the
    next rollback goes further back and not forth again. `kept` holds what is still on the host, last live first.
    """
    state = state or {"history": []}
    entry = {
        "release": release["id"],
        "image": release["image"]["id"],
        "model": release["model"]["digest"],
        "when": when,
    }
    older, ids = state["history"], [each["release"] for each in state["history"]]
    if rollback and release["id"] in ids:
        older = older[ids.index(release["id"]) + 1 :]
    history = [entry, *(each for each in older if each["release"] != release["id"])]
    return {
        "format": "mlkit.state/1",
        "service": release["name"],
        "release": release["id"],
        "image": release["image"]["id"],
        "model": release["model"]["digest"],
        "colour": colour,
        "port": port,
        "when": when,
        "history": [each for each in history if each["release"] in kept],
        "kept": kept,
    }


def prunable(seen, service, kept):
    "What may go: releases on the host that are no longer kept, with their image tags and containers."
    here = seen["services"][service]
    return [
        {
            "id": release_id,
            "tag": release["image"]["tag"] if release["image_present"] else "",
            # By id: until they go, a container that is being made may get the name of one of them.
            "containers": [each["id"] for each in here["containers"] if each["release"] == release_id],
        }
        for release_id, release in sorted(here["releases"].items())
        if release_id not in kept
    ]


def status_lines(seen):
    "A line for each service: what is live, where, whether it is ready, and what a rollback would go back to."
    if not seen["engine"]:
        return ["no container engine answers here, so nothing is known of its services"]
    lines = []
    for name, here in sorted(seen["services"].items()):
        state, live = here["state"], here["live"]
        if not live and not state:
            lines.append(f"{name}: never deployed here")
            continue
        live = live or {"release": None, "colour": "no colour", "port": 0, "running": False}
        release = live["release"] or (state or {}).get("release") or "unknown release"
        if not live["running"]:
            health = "DOWN: its container does not run"
        elif not live["model"]:
            health = "NOT READY: the container does not answer"
        elif live["model_through_proxy"] != live["model"]:
            health = "NOT REACHED: the container is ready, but the proxy does not lead to it"
        else:
            health = "ready"
        good = [each["release"] for each in (state or {}).get("history", [])]
        before = good[good.index(release) + 1 :] if release in good else good
        lines.append(
            f"{name}: {release} {health}; port {(state or {}).get('port', '?')} -> {live['colour']} {live['port']};"
            f" since {(state or {}).get('when', '?')}; before it {before[0] if before else 'nothing'}"
        )
        if traffic := here["traffic"]:
            lines.append(
                f"{name}: {traffic['requests']} requests since the last change of the proxy, {traffic['failed']} failed;"
                f" {traffic['rate']} a second and {traffic['running']} sessions now"
            )
        if lock := here["lock"]:
            lines.append(f"{name}: locked by {lock['owner']} for {lock['why'] or 'no reason given'}")
        lines += [f"{name}: DRIFT: {each}" for each in here["drift"]]
    return lines or ["no services here"]


def host_differences(seen, own=""):
    """A line for each service that is not the same on all hosts; `seen` is what service_info returned, by host.

    That a host lacks a service counts for `own`: others on the same hosts may have a smaller inventory.
    """
    found = {}
    for host, said in sorted(seen.items()):
        if said.get("engine"):
            runs = {name: (here["live"] or {}).get("release") for name, here in said["services"].items()}
            for name, release in ({own: "nothing"} | runs if own else runs).items():
                found.setdefault(name, {}).setdefault(str(release), []).append(host)
    return [
        f"{name}: DRIFT: the hosts differ: "
        + "; ".join(f"{', '.join(hosts)}: {release}" for release, hosts in sorted(on.items()))
        for name, on in sorted(found.items())
        if len(on) > 1
    ]


def journal_lines(entries):
    "A line for each entry of a journal, oldest first."
    return [
        "{when}  {outcome:11}  {release}  by {by}{why}".format(
            when=entry.get("when", "?"),
            outcome=entry.get("outcome", "?"),
            release=entry.get("release", "-"),
            by=entry.get("by", "?"),
            why=f": {entry['reason']}" if entry.get("reason") else "",
        )
        for entry in entries
    ] or ["no deployment yet"]


def likely_cause(result, task):
    "One sentence on why a step failed, from its result; our own modules and messages say it themselves."
    result = next((each for each in result.get("results", []) if each.get("failed")), result)
    if result.get("cause"):
        return result["cause"]
    if task.startswith("Refuse ") or str(result.get("msg")).startswith(CAUSES):
        return result["msg"]
    words = [str(result.get(key) or "") for key in ("stderr", "stdout", "msg", "module_stderr")]
    text = "\n".join(words)
    last = next(
        (line for part in words for line in reversed(part.strip().splitlines()) if line.strip()), "no message"
    )
    if "no space left on device" in text.lower():
        return f"disk full: {last}"
    if "port is already allocated" in text or "address already in use" in text.lower():
        return f"port taken: {last}"
    return f"{task}: {last}"


class FilterModule:
    def filters(self):
        return {
            "read_release": read_release,
            "service_name": service_name,
            "service_plan": service_plan,
            "unlike_its_record": unlike_its_record,
            "breaking_changes": breaking_changes,
            "rollback_target": rollback_target,
            "releases_after": releases_after,
            "state_after": state_after,
            "prunable": prunable,
            "status_lines": status_lines,
            "host_differences": host_differences,
            "journal_lines": journal_lines,
            "likely_cause": likely_cause,
        }
