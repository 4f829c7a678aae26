"The running proxy: what it counts, and its processes, which outlive a reload until their requests are answered."

import csv
import io
import os
import socket
import time

SOCKET = "/run/haproxy.sock"
ANSWERS = ("1xx", "2xx", "3xx", "4xx", "5xx", "other")


def tell(path, command):
    "What the proxy answers to a command. Raises `OSError` if none runs."
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(5)
        link.connect(path)
        link.sendall(command.encode() + b"\n")
        return b"".join(iter(lambda: link.recv(65536), b"")).decode()


def counts(path, service, server="BACKEND"):
    "What was answered since the proxy's last reload by a server (default: by all): requests, failed, rate a second, running now."
    for row in csv.DictReader(io.StringIO(tell(path, "show stat").lstrip("# "))):
        if row["pxname"] == "mlkit-" + service and row["svname"] == server:
            return {
                "requests": sum(int(row["hrsp_" + kind] or 0) for kind in ANSWERS),
                "failed": int(row["hrsp_5xx"] or 0),
                "rate": int(row["rate"] or 0),
                "running": int(row["scur"] or 0),
            }
    return {"requests": 0, "failed": 0, "rate": 0, "running": 0}


def wait_for_end(drain, seconds, pidfile):
    "Whether all processes but the one that stays have ended in time."
    stays = set()
    if os.path.exists(pidfile):
        with open(pidfile, encoding="ascii") as file:
            stays = set(file.read().split())
    deadline = time.monotonic() + seconds
    while any(os.path.exists("/proc/" + process) for process in drain if process not in stays):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
