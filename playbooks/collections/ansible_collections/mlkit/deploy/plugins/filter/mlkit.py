"""What a deployment decides, as plain functions of what was asked and what a host said: no host is touched here.

What cannot be done comes back as `{"refused": why}`. The playbook then fails with that sentence alone, where an
exception in a filter would be wrapped three times in Ansible's own words.
"""

import functools
import json
import os
import re

from ..module_utils.in_words import HEALTH, NO_ENGINE, health, hosts_differ, journal_line, little_room

NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
RELEASE_ID = re.compile(r"[a-z][a-z0-9-]{0,39}-\d+-[0-9a-f]{6,64}")
CAUSES = ("port taken: ", "disk full: ", "image could not be loaded: ")


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
    "What is deployed of the release in a folder, once that holds all that a host will need: its archive and the texts of its records."
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
            raise Refused(f"{folder} is not a release folder: it has no {name}")
    release = read_record(os.path.join(folder, "release.json"), "mlkit.release/1")
    try:
        wanted = {"id": release["id"], "name": release["name"]}
        archive = os.path.join(folder, os.path.basename(release["image"]["archive"]))
        _ = release["image"]["id"], release["image"]["tag"], release["model"]["digest"]
    except (KeyError, TypeError) as error:
        raise Refused(f"{folder}/release.json lacks {error}: make the release again") from error
    if not NAME.fullmatch(str(wanted["name"])) or not RELEASE_ID.fullmatch(str(wanted["id"])):
        raise Refused(
            f"{folder}/release.json has the name {wanted['name']!r} and the id {wanted['id']!r};"
            " expected names like 'flights' and ids like 'flights-3-1a2b3c4d5e6f'"
        )
    if not os.path.isfile(archive):
        raise Refused(f"{wanted['id']} has no image: {archive} is missing")
    golden = read_record(os.path.join(folder, "golden.json"), "mlkit.golden/1")
    rows, predictions = golden.get("rows"), golden.get("predictions")
    if not (isinstance(rows, list) and isinstance(predictions, list) and len(rows) == len(predictions) > 0):
        raise Refused(f"{folder}/golden.json must have as many predictions as rows, and at least one")
    return {**wanted, "archive": archive, "texts": read_texts(folder)}


def read_texts(folder):
    "The release's files that a host keeps, by name."
    texts = {}
    for name in ("release.json", "release.json.sig", "golden.json"):
        if os.path.isfile(os.path.join(folder, name)):
            with open(os.path.join(folder, name), encoding="utf-8", newline="") as file:
                texts[name] = file.read()
    return texts


@refusing
def service_name(name):
    'The name of a service, as `{"name": …}`, if it can be one.'
    if not name or not NAME.fullmatch(str(name)):
        raise Refused(
            f"{name!r} is not a service: say which with -e service=NAME, for example -e service=flights"
            " (lower-case letters, digits, dashes)"
        )
    return {"name": name}


BATCH = re.compile(r"[1-9]\d*%?")


def batch_mistake(batch, pause):
    "What is wrong with how many hosts are switched at a time, and with how long each batch waits, as Ansible would find out in the middle."
    sizes = batch if isinstance(batch, list) else [batch]
    if wrong := [size for size in sizes if not BATCH.fullmatch(str(size))] or ([] if sizes else [sizes]):
        return f"deploy_batch = {wrong[0]!r} is not a number of hosts: expected for example 2 or 25%"
    if not re.fullmatch(r"\d+", str(pause)):
        return f"deploy_pause = {pause!r} is not a number of seconds: expected for example 60"
    return ""


def status_lines(seen):
    "A line for each service: what is live, where, whether it is ready, and what a rollback would go back to."
    if not seen["engine"]:
        return [NO_ENGINE]
    lines = [f"DRIFT: {each}" for each in little_room(seen["free_bytes"])]
    for name, here in sorted(seen["services"].items()):
        state, live = here["state"], here["live"]
        if not live and not state:
            lines.append(f"{name}: never deployed here")
            continue
        live = live or {"release": None, "colour": "no colour", "port": 0, "running": False}
        release = live["release"] or (state or {}).get("release") or "unknown release"
        good = [each["release"] for each in (state or {}).get("history", [])]
        before = good[good.index(release) + 1 :] if release in good else good
        lines.append(
            f"{name}: {release} {HEALTH[health(live)]}; port {(state or {}).get('port', '?')} -> {live['colour']} {live['port']};"
            f" since {(state or {}).get('when', '?')}; before it {before[0] if before else 'nothing'}"
        )
        if traffic := here["traffic"]:
            lines.append(
                f"{name}: {traffic['requests']} requests since the last change of the proxy, {traffic['failed']} failed;"
                f" {traffic['rate']} a second and {traffic['running']} sessions now"
            )
        if certificate := here["certificate"]:
            lines.append(f"{name}: certificate until {certificate['until']}, {certificate['days']} days")
        if lock := here["lock"]:
            lines.append(f"{name}: locked by {lock['owner']} for {lock['why'] or 'no reason given'}")
        lines += [f"{name}: DRIFT: {each}" for each in here["drift"]]
    return lines or ["no services here"]


def host_differences(seen, own=""):
    "A line for each service that is not the same on all hosts; `seen` is what service_info returned, by host."
    running = {
        host: {name: (here["live"] or {}).get("release") for name, here in said["services"].items()}
        for host, said in sorted(seen.items())
        if said.get("engine")
    }
    return [line.replace(": ", ": DRIFT: ", 1) for line in hosts_differ(running, own)]


def journal_lines(entries):
    "A line for each entry of a journal, oldest first."
    return list(map(journal_line, entries)) or ["no deployment yet"]


STEPS = ("service_begun", "service_prepared", "service_switch", "service_committed")


def failed_hosts(hostvars, hosts):
    "The hosts on which a step of the deployment has failed: then the others go no further, and take back what they did."
    return [host for host in hosts if has_failed(hostvars[host])]


def deployed_hosts(hostvars, hosts):
    "How the hosts that a deployment changes reach one another, in the order in which they are switched. The first decides."
    begun = [hostvars[host].get("service_begun") or {} for host in hosts]
    return [each["peer"] for each in begun if (each.get("plan") or {}).get("change")]


def deployment_ending(hostvars, hosts, name):
    """How a deployment ends on a host: `unlock`, `keep`, `take back` or `leave`, by what its steps gave on all of them.

    And how the hosts that it changes reach one another (`peers`). The first decides; where it was lost in that, nobody knows: `leave`.
    """
    peers = deployed_hosts(hostvars, hosts)
    commit = hostvars[peers[0]["name"]].get("service_committed") or {} if len(peers) > 1 else {}
    is_known = not commit or commit.get("skipped") or commit.get("committed") or ("cause" in commit and not commit.get("lost"))
    change = any(peer["name"] == name for peer in peers)
    end = "unlock" if not change else "leave" if not is_known else "take back" if failed_hosts(hostvars, hosts) else "keep"
    return {"end": end, "peers": peers}


def has_failed(variables):
    return "service_failure" in variables or any("cause" in (variables.get(step) or {}) for step in STEPS)


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
            "status_lines": status_lines,
            "host_differences": host_differences,
            "journal_lines": journal_lines,
            "likely_cause": likely_cause,
            "failed_hosts": failed_hosts,
            "deployment_ending": deployment_ending,
        }
