"""One load on one server: wrk for its clients, the kernel for the CPU time.

wrk stops in the midst of its last requests. What a server has done for them is lost among thousands of requests, but not
among fifty batches: those are asked by a client that waits for each answer, see `_batches`.
"""

import http.client
import itertools
import json
import subprocess
import threading
import time
from pathlib import Path
from statistics import median, quantiles

from processes import cpu_seconds
from servers import CannotServe, Running

SCRIPT = Path(__file__).parent / "bodies.lua"
SETTLED = 3  # seconds: some servers are never idle

# Rows a body → connections. Not 64 × 1000 rows: they would queue for longer than a load lasts.
LOADS = {1: (1, 16, 64), 100: (1, 16, 64), 1000: (1, 16)}


def key(rows: int, connections: int) -> str:
    return f"{rows} × {connections}"


def measure(server: Running, model: Path, rows: int, connections: int, seconds: int) -> dict:
    "Requests a second, p50 and p99 in ms, CPU in µs a request of the whole process tree."
    settle(server.pid)
    before = cpu_seconds(server.pid)
    clients = _wrk if rows == 1 else _batches
    figures = clients(server, model, rows, connections, seconds)
    spent = cpu_seconds(server.pid) - before
    answered = figures["requests"] - figures["refused"]
    if not answered:
        raise CannotServe(f"no right answer under load: {figures}")
    return figures | {
        "rate": figures["requests"] / figures["seconds"],
        "cpu": spent / figures["requests"] * 1e6,
    }


def _wrk(server: Running, model: Path, rows: int, connections: int, seconds: int) -> dict:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", SCRIPT]
    bodies = server.bodies(model, rows)
    done = subprocess.run([*command, server.url, "--", bodies], capture_output=True, text=True)
    if done.returncode:
        raise CannotServe(f"wrk: {done.stdout}{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def _batches(server: Running, model: Path, rows: int, connections: int, seconds: int) -> dict:
    "Until all is answered, and 1000 rows for twice as long. The same figures as from wrk."
    bodies = itertools.cycle(server.bodies(model, rows).read_bytes().splitlines())
    times, statuses, broken = [], [], []
    began = time.perf_counter()
    end = began + (2 * seconds if rows >= 1000 else seconds)

    def client():
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        while (asked := time.perf_counter()) < end:
            try:
                statuses.append(server.ask(next(bodies), connection)[0])
                times.append((time.perf_counter() - asked) * 1e3)
            except (OSError, http.client.HTTPException) as error:
                broken.append(error)
                connection.close()
        connection.close()

    threads = [threading.Thread(target=client, daemon=True) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {
        "requests": len(times),
        "seconds": time.perf_counter() - began,
        "p50": median(times) if times else 0,
        "p99": quantiles(times, n=100)[98] if len(times) > 1 else 0,
        "refused": sum(status >= 400 for status in statuses),
        "broken": len(broken),
    }


def warm_up(server: Running, model: Path) -> None:
    "Every worker is up and has answered."
    for clients, rows in ((_wrk, 1), (_batches, 100)):
        clients(server, model, rows, 16, 1)


def settle(pid: int) -> None:
    "Waits until what the last load left in the queues is done."
    deadline, last = time.monotonic() + SETTLED, cpu_seconds(pid)
    while time.monotonic() < deadline:
        time.sleep(0.1)
        if (now := cpu_seconds(pid)) == last:
            return
        last = now
