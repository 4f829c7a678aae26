"""What a host says about its services: their state, containers, images and what the proxy points at. Changes nothing.

What is live is what the running proxy says, not what the state says. A deployment that was cut off between the switch and the
record leaves the two apart, and then the state would name the wrong container.
"""

import json
import os
import re
import shutil
import time

from .closed_network import NAME as CLOSED
from .closed_network import complaints as network_complaints
from .container_engine import find, image_of, storage
from .deploy_lock import look as look_at_lock
from .drift import drift, port_drift
from .failed import Failed
from .journal_chain import read, verify
from .pending import read_pending, trouble_of
from .proxy_state import (
    CONFIG,
    SOCKET,
    counts,
    listens,
    routes_configured,
    routes_running,
)
from .rollout import ask
from .service_records import recorded, releases_of, state_of

RETIRING = 60  # seconds: more than it takes to remove a few images
CERTIFICATE = re.compile(r"^\s+bind .* ssl crt (\S+)", re.MULTILINE)


def containers_of(engine):
    "Every container of ours, running or not."
    ids = engine("ps", "--all", "--quiet", "--filter", "label=mlkit.service").split()
    found = []
    for each in json.loads(engine("inspect", *ids)) if ids else []:
        labels = each["Config"]["Labels"]
        bound = each["HostConfig"]["PortBindings"].get("8000/tcp") or [{}]
        found.append(
            {
                "name": each["Name"].lstrip("/"),
                "id": each["Id"],
                "service": labels["mlkit.service"],
                "release": labels.get("mlkit.release"),
                "colour": labels.get("mlkit.colour"),
                "settings": labels.get("mlkit.settings"),
                "image": image_of(each),
                "port": int(bound[0].get("HostPort") or 0),
                "running": each["State"]["Running"],
                "started": each["State"]["StartedAt"],
                "closed": CLOSED in (each["NetworkSettings"].get("Networks") or {}),
            }
        )
    return found


def model_in(body):
    "The digest that an answer of /readyz names, or None."
    try:
        return json.loads(body)["model"]["digest"]
    except (ValueError, KeyError, TypeError):
        return None


def model_ready(port, tls=False):
    "The digest of the model that is ready on this port, or None."
    status, body = ask(port, "/readyz", seconds=5, tls=tls)
    return model_in(body) if status == 200 else None


def certificate_of(path, name):
    "The file of the certificate with which the proxy speaks TLS to the clients of the service, or None."
    try:
        with open(os.path.join(os.path.dirname(path), "mlkit.d", name + ".cfg"), encoding="utf-8") as file:
            named = CERTIFICATE.search(file.read())
            return named and named[1]
    except FileNotFoundError:
        return None


def port_of_state(home, name, only):
    "The port of a service; 0 for none. A broken record of another service must not stop this one."
    try:
        return (state_of(os.path.join(home, name)) or {}).get("port", 0)
    except Failed:
        if only in ("", name):
            raise
        return 0


def look(name, home, containers, images, routes, tls):
    "One service."
    folder = os.path.join(home, name)
    state = state_of(folder)
    mine = [each for each in containers if each["service"] == name]
    live = None
    if name in routes:
        colour, port = routes[name][0]["colour"], routes[name][0]["port"]
        live = next((each for each in mine if each["colour"] == colour), {"release": None, "running": False})
        live = {**live, "colour": colour, "port": port, "model": model_ready(port)}
        live["second"] = len(routes[name]) > 1  # with a share, or standing by until the switch is recorded
        live["model_through_proxy"] = model_ready(state["port"], tls) if state else None
        live["out"] = os.path.exists(os.path.join(folder, "missed"))  # of a balancer
    releases = {
        name: {**release, "image_present": release["image"]["id"] in images}
        for name, release in releases_of(folder).items()
    }
    return {"state": state, "live": live, "containers": mine, "releases": releases}


def lock_of(folder):
    "Who holds the lock, without the token."
    lock = look_at_lock(os.path.join(folder, "lock.json"))
    return lock and {key: lock[key] for key in ("owner", "why", "age", "expires_in")}


def traffic_of(path, name):
    "What the proxy counted since its last reload; None if it does not run."
    try:
        return counts(path, name)
    except OSError:
        return None


def judge(here, folder):
    "What the service's journal says, beside what runs."
    lines = read(os.path.join(folder, "journal.jsonl"))
    problems = verify(lines)
    entries = []
    for line in lines:
        try:
            entries.append(json.loads(line))
        except ValueError:  # `problems` names it
            continue
    return drift(here, [entry for entry in entries if isinstance(entry, dict)], problems)


def doubts(folder, here):
    "What only other hosts, or the next deployment, can answer."
    found, pending = [], read_pending(folder)
    if pending and not here["lock"]:
        found += unended(folder, pending)
    if here["live"] and here["live"]["out"]:
        found.append("it was down and may have missed a deployment: /readyz answers 503 until the next one, for a balancer to pass it over")
    return found


def unended(folder, pending):
    "What is said of a deployment that nobody works on, and that is not at its end."
    release, why = pending["begun"]["release"]["id"], trouble_of(folder)
    if recorded(folder) != pending["deployment"]:
        return [
            f"in doubt: the deployment of {release} was cut off before it was recorded here;"
            f" {', '.join(host['name'] for host in pending['hosts'])} are asked whether it counts, until one can say"
            + (f" (the last time: {why})" if why else "")
        ]
    took = time.time() - os.path.getmtime(os.path.join(folder, "state.json"))
    if not why and took < pending["drain_seconds"] + pending["stop_seconds"] + RETIRING:
        return []  # what it replaced is just being retired
    return [
        f"what {release} replaced is still here: {why or 'nothing on the host works on it any more'};"
        + (" the host tries again every few seconds" if why else " the next deployment removes it, or a reboot")
    ]


def look_at_host(home, only, named, run, socket=SOCKET, config=CONFIG, wanted=None):
    "What service_info returns, without the certificates and the free bytes, which take long to find out; `wanted` is the inventory's port by service. Raises `Failed` for a record of ours that is no JSON."

    def engine(*words):
        return run([tools["engine"], *words], check_rc=True)[1]

    tools = {"engine": find(named), "proxy": shutil.which("haproxy") is not None}
    if not tools["engine"]:
        return {**tools, "services": {}, "ports": {}, "images": [], "signers": False}
    containers = containers_of(engine)
    images = sorted(set(engine("image", "ls", "--all", "--quiet", "--no-trunc").split()))
    try:
        routes = routes_running(socket)
    except OSError:  # no proxy runs: what it would do
        routes = routes_configured(config)
    # What runs without a folder counts too: somebody may have removed it.
    found = [*routes, *(each["service"] for each in containers)]
    folders = [entry.name for entry in os.scandir(home) if entry.is_dir()] if os.path.isdir(home) else []
    known = sorted({*found, *folders})
    ports = {name: port for name in known if (port := port_of_state(home, name, only))}
    services = {
        name: look(name, home, containers, images, routes, bool(certificate_of(config, name)))
        for name in ([only] if only else known)
    }
    for name, here in services.items():
        here["listens"] = sorted(listens(name, config))
        here["lock"] = lock_of(os.path.join(home, name))
        here["traffic"] = traffic_of(socket, name)
        here["drift"] = judge(here, os.path.join(home, name)) + port_drift(here, (wanted or {}).get(name))
        here["drift"] += doubts(os.path.join(home, name), here)
        if here["live"] and here["live"].get("closed"):
            here["drift"] += network_complaints(run)
    return {
        **tools,
        "services": services,
        "ports": ports,
        "images": images,
        "signers": os.path.exists("/etc/mlkit/signers"),
    }


def free_bytes(engine, home, run):
    "Free bytes by folder: where the engine keeps images, and where we keep what is ours. Nothing where no engine answers."
    return {place: free_at(place) for place in (storage(engine, run), home)} if engine else {}


def free_at(place):
    "Free bytes where a folder is or will be."
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    return shutil.disk_usage(place).free
