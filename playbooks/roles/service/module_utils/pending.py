"""A deployment that a host has switched to and has not recorded yet, and what the host tells the others of it.

Of the hosts of a deployment the first decides: when its state names the deployment, the deployment is recorded, and the others
record it too. Until then each of them can go back. `pending.json` holds all that either way needs, so that a host can end the
deployment without its deployer, also after a power cut.

    write_pending(service, folder, pending)     from now on this host waits for the decision
    read_pending(folder) -> pending or None
    clear_pending(service, folder)              it is decided
    publish(service, folder)                    what others are told, at PATH of the service's port
    told_by(host) -> (recorded, pending)        what another host tells; None if it tells nothing

It is told by the proxy and not by the container: a host in doubt may have none that runs. Two ids are no secret.
"""

import hashlib
import http.client
import json
import os
import re
import ssl
import urllib.request

from ansible.module_utils.failed import Failed
from ansible.module_utils.proxy_config import alone, read, write_whole
from ansible.module_utils.proxy_piece import DEPLOYMENT_PATH, DEPLOYMENTS
from ansible.module_utils.proxy_state import PIECES, SOCKET, tell

FORMAT = "mlkit.pending/1"
NONE = "-"
TOLD = re.compile(r"([0-9a-f]{12}|-)/([0-9a-f]{12}|-)")
PATIENCE = 3  # seconds


def write_pending(service, folder, pending):
    """Write it down, and publish it. Raises `OSError`.

    `pending`: deployment (its id), token (digest of the lock's), host (the name of this one), hosts (name, address, port and tls of all, the first decides), entry
    (what the journal will say), and what deployment_ended needs to record it; see keeping.
    """
    text = json.dumps({"format": FORMAT, **pending}, sort_keys=True, indent=2) + "\n"
    write_whole(os.path.join(folder, "pending.json"), text, 0o600)
    publish(service, folder)


def read_pending(folder):
    "What waits for its decision here, or None. Raises `Failed` for what another mlkit wrote."
    path = os.path.join(folder, "pending.json")
    try:
        pending = json.loads(read(path) or "null")
        found = pending and pending["format"]
    except (ValueError, TypeError, KeyError) as error:
        raise Failed(f"{path} is no record of a deployment: {error}. {AWAY}") from error
    if pending and found != FORMAT:
        raise Failed(f"{path} has the format {found!r}, expected {FORMAT!r}: another mlkit wrote it. {AWAY}")
    return pending


AWAY = "See what runs (mlkit status), move the file away, and deploy again"


def clear_pending(service, folder):
    "Nothing waits here any more."
    path = os.path.join(folder, "pending.json")
    if os.path.exists(path):
        os.remove(path)
        publish(service, folder)


def recorded(folder):
    "The id of the deployment that the state names; nothing for a state from before there were ids."
    return json.loads(read(os.path.join(folder, "state.json")) or "{}").get("deployment", "")


def digest_of_token(token):
    "A lock's token is a key, so it is not written down twice."
    return hashlib.sha256(token.encode()).hexdigest()


def publish(service, folder):
    "Let the proxy tell the ids of what is recorded and what is pending, also after a reload or a power cut. Raises `OSError`."
    told = f"{recorded(folder) or NONE}/{(read_pending(folder) or {}).get('deployment', NONE)}"
    with alone(PIECES):
        lines = [line for line in (read(DEPLOYMENTS) or "").splitlines() if line.split(" ")[0] != service]
        if told != f"{NONE}/{NONE}":
            lines.append(f"{service} {told}")
        write_whole(DEPLOYMENTS, "".join(line + "\n" for line in lines))
        try:
            tell(SOCKET, f"del map {DEPLOYMENTS} {service}")
            tell(SOCKET, f"add map {DEPLOYMENTS} {service} {told}")
        except (FileNotFoundError, ConnectionError):
            pass  # no proxy runs: it reads the file when it starts


def told_by(host):
    "The ids of the recorded and the pending deployment of another host, `-` for none; None if it does not tell."
    # A certificate may name the service and not this address, and what is told is no secret.
    context = ssl._create_unverified_context() if host["tls"] else None  # noqa: S323
    url = "{}://{}:{}{}".format("https" if host["tls"] else "http", host["address"], host["port"], DEPLOYMENT_PATH)
    try:
        with urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        ).open(url, timeout=PATIENCE) as answer:
            told = TOLD.fullmatch(answer.read(100).decode("ascii", "replace").strip())
    except (OSError, ValueError, http.client.HTTPException):  # nobody is there, or somebody else
        return None
    return told and told.groups()
