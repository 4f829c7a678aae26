"""What a deployment decides on a host, as plain functions of what was asked and what the host runs.

    release_of(record) -> release                        what a release.json says, as the other functions take it
    breaking_changes(live, release) -> lines             what the clients of the live release would be refused for
    service_plan(seen, release, …) -> plan               what has to happen so that the release is live
    rollback_target(seen, service, …) -> record          the kept release to go back to
    releases_after(state, kept, release, …) -> ids       what stays on the host
    state_after(state, release, …) -> state              state.json from then on
    prunable(seen, service, kept) -> list                what may go

What cannot be done is `Failed`, with what to do.
"""

import json

from .failed import Failed

OTHER = {"blue": "green", "green": "blue"}


def release_of(record):
    "A release as its release.json describes it, which may be signed: nothing else says what is deployed."
    override = record.get("override") or ""
    return {
        "id": record["id"],
        "name": record["name"],
        "image": {
            **{key: record["image"][key] for key in ("tag", "id", "archive")},
            "reference": record["image"].get("reference", ""),
            "layers": record["image"].get("layers", []),
        },
        "model": {"digest": record["model"]["digest"]},
        "verdict": record.get("verdict", ""),
        "signature": record.get("signature") or {},
        "override": override.get("reason", "") if isinstance(override, dict) else override,
    }


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
        lines.append(f"the output was {output_in_words(old['output'])}, and is {output_in_words(new['output'])}")
    return lines


def output_in_words(output):
    parts = output.get("classes") or map(str, output.get("quantiles", ()))
    named = ", ".join(parts)
    return f"{output['name']} ({output['kind']}{': ' + named if named else ''})"


def narrowed(old, new):
    "What a column took and takes no longer."
    wider = {("integer", "number"), ("boolean", "integer"), ("boolean", "number"), ("category", "text")}
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


def service_plan(seen, release, port, settings, breaking=""):
    """What has to happen so that `release` is live: the new container's place and the old container, as data.

    `seen` is what service_info returned. Nothing changes when the proxy already sends the service's port to a healthy
    container of this release, made with these settings, and the state agrees. A release whose signature breaks the clients
    of the live one is refused, unless `breaking` says why that is meant.
    """
    name = release["name"]
    for other, taken in sorted(seen["ports"].items()):
        if other != name and abs(taken - port) < 3:
            raise Failed(
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
        raise Failed(
            f"{release['id']} would break the clients of {live['release']}: {'; '.join(breaks[:10])}. Where that is meant,"
            ' say why: mlkit deploy … --breaking "WHY", or -e \'{"service_breaking": "WHY"}\''
        )
    colour = OTHER[live["colour"]] if live else "blue"
    old = live and {
        "release": live["release"] or "a container that is gone",
        "colour": live["colour"],
        "port": live["port"],
        "container": f"mlkit-{name}-{live['colour']}",
        "id": live.get("id", ""),  # none: the container is gone
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
        "second": bool(live and live.get("second")),  # a deployment that was cut off has left the proxy two containers
        "image_present": release["image"]["id"] in seen["images"],
        "known": release["id"] in here["releases"],
    }


def rollback_target(seen, service, release_id=""):
    "The kept release to go back to: the one named, or the last good one before the one that is live."
    here = seen["services"][service]
    state, live, kept = here["state"], here["live"], here["releases"]
    if not state:
        others = ", ".join(sorted(seen["ports"])) or "none"
        raise Failed(
            f"{service} was never deployed here, so there is nothing to go back to; services here: {others}"
        )
    good = [entry["release"] for entry in state["history"]]
    usable = [each for each in state["kept"] if kept.get(each, {}).get("image_present")]
    if release_id:
        if release_id not in usable:
            raise Failed(
                f"{release_id} is not kept here; kept, newest first: {', '.join(usable) or 'none'}."
                " Deploy it again from its folder with playbooks/deploy.yml"
            )
        return kept[release_id]
    current = (live or {}).get("release") or state["release"]
    before = good[good.index(current) + 1 :] if current in good else good
    for each in before:
        if each in usable:
            return kept[each]
    raise Failed(
        f"{service} has no good release before {current} here; kept: {', '.join(usable) or 'none'} (name one with -e release_id=…)"
    )


def releases_after(state, kept, release, keep, megabytes):
    """The ids of the releases that stay on the host once `release` is live, which comes first.

    `state` is what was recorded before, `kept` the records on the host. No more than `keep`, and, unless `megabytes` is 0, no more than fit: a layer that several share counts once. The live one
    and the one that a rollback would go back to stay whatever their size.
    """
    before = state["kept"] if state else []
    records, staying, layers = {**kept, release["id"]: release}, [], {}
    for each in [release["id"], *(other for other in before if other != release["id"])][:keep]:
        image = records.get(each, {}).get("image", {})
        more = {layer["digest"]: layer["bytes"] for layer in image.get("layers", [])}
        if megabytes and len(staying) >= 2 and sum({**layers, **more}.values()) > megabytes * 1e6:
            break
        layers.update(more)
        staying.append(each)
    return staying


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
