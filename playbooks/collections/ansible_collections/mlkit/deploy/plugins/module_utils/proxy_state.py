"""The proxy of a host: what it counts, which containers it knows, and its processes, which outlive a reload until their
requests are answered.
"""

import os
import re
import time

from .proxy_config import alone, joined, pieces_of, write_pieces
from .proxy_socket import SOCKET, rows, tell

CONFIG = "/etc/haproxy/haproxy.cfg"
PIECES = "/etc/haproxy/mlkit.d"
ANSWERS = ("1xx", "2xx", "3xx", "4xx", "5xx", "other")
SERVER = re.compile(r"^\s+server (blue|green) 127\.0\.0\.1:(\d+)")


def counts(path, service, server="BACKEND"):
    "What was answered since the proxy's last reload by a server (default: by all): requests, failed, rate a second, running now."
    for row in rows(path):
        if row["pxname"] == "mlkit-" + service and row["svname"] == server:
            return {
                "requests": sum(int(row["hrsp_" + kind] or 0) for kind in ANSWERS),
                "failed": int(row["hrsp_5xx"] or 0),
                "rate": int(row["rate"] or 0),
                "running": int(row["scur"] or 0),
            }
    return {"requests": 0, "failed": 0, "rate": 0, "running": 0}


def routes_running(path=SOCKET):
    "Each service's containers that the running proxy knows, who gets the requests first. Raises `OSError` if none runs."
    found = {}
    for row in rows(path):
        if row["pxname"].startswith("mlkit-") and row["svname"] in ("blue", "green"):
            if not row["status"].startswith("MAINT"):
                server = {
                    "colour": row["svname"],
                    "port": int(row["addr"].rpartition(":")[2]),
                    "down": row["status"].startswith("DOWN"),
                }
                found.setdefault(row["pxname"][len("mlkit-") :], []).append(server)
    # The configuration names the live one first. Where it is down, the other gets what comes.
    return {service: sorted(known, key=lambda server: server["down"]) for service, known in found.items()}


def routes_configured(path=CONFIG):
    "The same from the proxy's configuration: what it would do once started."
    routes, service = {}, None
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                if line.startswith("listen mlkit-"):
                    service = line.split()[1][len("mlkit-") :]
                elif service and SERVER.match(line):
                    colour, port = SERVER.match(line).groups()
                    routes.setdefault(service, []).append({"colour": colour, "port": int(port)})
    except FileNotFoundError:
        pass
    return routes


def listens(service, path=CONFIG):
    "The ports at which the proxy takes requests for a service, by its configuration."
    ports, mine = set(), False
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                if line.startswith("listen "):
                    mine = line.split()[1] == "mlkit-" + service
                elif mine and (bound := re.match(r"\s+bind \S*:(\d+)", line)):
                    ports.add(int(bound[1]))
    except FileNotFoundError:
        pass
    return ports


def servers(service):
    "The containers of a service that the proxy knows."
    try:
        return routes_running().get(service, [])
    except OSError:
        return routes_configured().get(service, [])


def keep_only(service, colour):
    """Leave one container of a service in the proxy's configuration, which the next reload or start reads.

    Raises `ValueError` for a container that is not in it: the service would be left without any.
    """
    with alone(PIECES):
        pieces, name = pieces_of(PIECES), service + ".cfg"
        known = [match[1] for match in map(SERVER.match, pieces.get(name, "").splitlines()) if match]
        if colour not in known:
            raise ValueError(f"the proxy has no {colour} container of {service}, only: {', '.join(known) or 'none'}")
        text = _without_others(pieces[name], colour)
        if text != pieces[name]:
            write_pieces(CONFIG, PIECES, joined({**pieces, name: text}), {name: text})


def _without_others(text, colour):
    kept = []
    for line in text.splitlines(keepends=True):
        match = SERVER.match(line)
        if not match:
            kept.append(line)
        elif match[1] == colour:
            kept.append(match[0] + "\n")  # whatever share it had, it has all now
    return "".join(kept)


def forget_second(service, colour):
    "Let the running proxy use no other container of a service than this one, also after a reload."
    keep_only(service, colour)
    for server in servers(service):
        if server["colour"] != colour:
            tell(SOCKET, f"set server mlkit-{service}/{server['colour']} state maint")


def wait_for_end(drain, seconds):
    "Whether all these processes, which a reload gave, have ended in time."
    deadline = time.monotonic() + seconds
    while any(os.path.exists("/proc/" + process) for process in drain):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
