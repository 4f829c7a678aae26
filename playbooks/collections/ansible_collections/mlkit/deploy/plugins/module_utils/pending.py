"""A deployment that a host has switched to and has not recorded yet, and what the host tells the others of its deployments.

Of the hosts of a deployment the first decides: when its state names the deployment, the deployment is recorded, and the others
record it too. Until then each of them can go back. `pending.json` holds all that either way needs, so that a host can end the
deployment without its deployer, also after a power cut.

    write_pending(service, folder, pending)     from now on this host waits for the decision
    read_pending(folder) -> pending or None
    clear_pending(service, folder, deployment)  it is at its end
    note_trouble(folder, why)                   why it could not be ended, for status
    stay_out(service, folder, whether)          whether /readyz answers 503, so that a balancer passes the host over
    publish(service, folder)                    let the proxy tell what these files say
    told_by(host) -> Told                       what another host tells; None if it tells nothing
    told_by_all(hosts) -> list

A host tells the ids of the deployments that are recorded and pending, and marks of the hosts for which the recorded one was meant, at
DEPLOYMENT_PATH of the service's port: all that is no secret. The proxy answers and not the container, for a host in doubt may have none
that runs.
"""

import collections
import hashlib
import http.client
import json
import os
import re
import ssl
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from .failed import Failed
from .proxy_config import alone, read, write_whole
from .proxy_piece import DEPLOYMENT_PATH, DEPLOYMENTS
from .proxy_state import PIECES, SOCKET, tell
from .service_records import state_of

FORMAT = "mlkit.pending/1"
NONE = "-"
TOLD = re.compile(r"([0-9a-f]{12}|-)/([0-9a-f]{12}|-)/([0-9a-f,]*)")
Told = collections.namedtuple("Told", "recorded pending marks")
PATIENCE = 3  # seconds


def write_pending(service, folder, pending):
    """Write it down, and publish it. Raises `OSError`; then nothing is pending.

    `pending`: deployment (its id), token (digest of the lock's), host (the name of this one), hosts (name, address, port and
    tls of those that are changed, the first decides), meant_for (the names of all hosts that were asked for), returns (`wait` or `serve`), entry
    (what the journal will say), and what is needed to record it; see keeping.
    """
    text = json.dumps({"format": FORMAT, **pending}, sort_keys=True, indent=2) + "\n"
    write_whole(os.path.join(folder, "pending.json"), text, 0o600)
    try:
        publish(service, folder)
    except OSError:
        os.remove(os.path.join(folder, "pending.json"))
        raise


def read_pending(folder):
    "What waits for its decision here, or None. Raises `Failed` for what another mlkit wrote."
    path = os.path.join(folder, "pending.json")
    try:
        pending = json.loads(read(path) or "null")
        found = pending and pending["format"]
    except (ValueError, TypeError, KeyError) as error:
        raise Failed(f"{path} is not a record of a deployment: {error}. {AWAY}") from error
    if pending and found != FORMAT:
        raise Failed(f"{path} has the format {found!r}, expected {FORMAT!r}: another mlkit wrote it. {AWAY}")
    return pending


AWAY = "See what runs (mlkit status), move the file away, and deploy again"


def clear_pending(service, folder, deployment):
    "This deployment waits here no more. Another one's may: who lost the lock in the meantime takes nothing of it away."
    if (read_pending(folder) or {}).get("deployment") == deployment:
        os.remove(os.path.join(folder, "pending.json"))
        note_trouble(folder, "")
        publish(service, folder)


def note_trouble(folder, why):
    "Why it could not be ended, for whoever looks at the host; nothing: it could. Raises `OSError`."
    path = os.path.join(folder, "trouble")
    if why:
        write_whole(path, why + "\n")
    elif os.path.exists(path):
        os.remove(path)


def trouble_of(folder):
    return (read(os.path.join(folder, "trouble")) or "").strip()


def mark(deployment, host):
    "What tells a host that a deployment was meant for it, too, and tells a stranger no names."
    return hashlib.sha256(f"{deployment} {host}".encode()).hexdigest()[:8]


def stay_out(service, folder, whether):
    "Whether a balancer passes this host over, also after a reload. Raises `OSError`."
    path = os.path.join(folder, "missed")
    if whether != os.path.exists(path):
        write_whole(path, "") if whether else os.remove(path)
        publish(service, folder)


def digest_of_token(token):
    "A lock's token is a key, so it is not written down twice."
    return hashlib.sha256(token.encode()).hexdigest()


def publish(service, folder):
    "Let the proxy tell what is recorded and what is pending, also after a reload or a power cut. Raises `OSError`."
    state, pending = state_of(folder) or {}, read_pending(folder)
    deployment = state.get("deployment", NONE)
    marks = ",".join(mark(deployment, host) for host in state.get("meant_for", []))
    told = {}
    if pending or deployment != NONE:
        told[service] = f"{deployment}/{pending['deployment'] if pending else NONE}/{marks}"
    if os.path.exists(os.path.join(folder, "missed")):
        told[service + "/out"] = "yes"
    keys = (service, service + "/out")
    with alone(PIECES):
        others = [line for line in (read(DEPLOYMENTS) or "").splitlines() if line.split(" ")[0] not in keys]
        lines = others + [f"{key} {value}" for key, value in told.items()]
        write_whole(DEPLOYMENTS, "".join(line + "\n" for line in lines))
        try:
            for key in keys:
                tell_proxy(key, told.get(key))
        except (FileNotFoundError, ConnectionError):
            pass  # no proxy runs: it reads the file when it starts


def tell_proxy(key, value, socket=SOCKET, file=DEPLOYMENTS):
    "Change what the running proxy tells, at one stroke: who asks in between must not hear that there is nothing."
    if not value:
        tell(socket, f"del map {file} {key}")
    elif "not found" in tell(socket, f"set map {file} {key} {value}"):
        tell(socket, f"add map {file} {key} {value}")


def url_of(host):
    address = f"[{host['address']}]" if ":" in host["address"] else host["address"]
    return f"{'https' if host['tls'] else 'http'}://{address}:{host['port']}{DEPLOYMENT_PATH}"


def told_by(host):
    "What another host tells of its deployments, the ids `-` for none; None if it does not answer."
    # A certificate may name the service and not this address, and what is told is no secret.
    context = ssl._create_unverified_context() if host["tls"] else None  # noqa: S323
    no_proxy, https = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    try:
        with urllib.request.build_opener(no_proxy, https).open(url_of(host), timeout=PATIENCE) as answer:
            told = TOLD.fullmatch(answer.read(100_000).decode("ascii", "replace").strip())
    except (OSError, ValueError, http.client.HTTPException):  # nobody is there, or somebody else
        return None
    return told and Told(*told.groups())


def told_by_all(hosts):
    "The same of several hosts at once: one that is down takes its time."
    with ThreadPoolExecutor(max_workers=50) as together:
        return list(together.map(told_by, hosts))
