"""Python model servers beside each other: one model, one machine, two worker processes each, in the same run.

    make bench-serve
    python bench/serve --rounds 1 --seconds 1 --only mlkit,flask_naive

Each round starts every server in turn, alone, in an order of its own, asks it with each load, and stops it. Trust the ratios
of CPU per request: requests a second also show how busy the machine is.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from answers import Examiner
from limit import __file__ as LIMIT
from load import LOADS, key, measure, settle, warm_up
from model import made_model
from processes import memory
from report import tables
from servers import SERVERS, CannotServe, Running, running

SEED = 4


def main() -> None:
    arguments = read_arguments()
    for number in (signal.SIGINT, signal.SIGTERM):  # every `finally` runs, so that no server is left behind
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    if not shutil.which("wrk"):
        sys.exit("wrk is not installed: apt-get install wrk")
    record = {"machine": machine(), "seconds": arguments.seconds} | run_rounds(arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    print(tables(record))


def run_rounds(arguments: argparse.Namespace) -> dict:
    "A server that fails is left out of what follows, and the rest goes on."
    servers = [server for server in SERVERS if server.name in arguments.only]
    model, rounds, answers, unavailable = made_model(), [], {}, {}
    examiner, order = Examiner(model), random.Random(SEED)
    with tempfile.TemporaryDirectory(prefix="mlkit-bench-") as scratch:
        for number in range(arguments.rounds):
            order.shuffle(servers)
            rounds.append({})
            for server in [each for each in servers if each.name not in unavailable]:
                said(f"round {number + 1} of {arguments.rounds}: {server.title}")
                try:
                    bare = limit(model)
                    with running(server, model, Path(scratch, server.name)) as started:
                        if server.examined and server.name not in answers:
                            answers[server.name] = examiner.examine(started)
                        rounds[-1][server.name] = measure_all(started, model, arguments.seconds) | bare
                except CannotServe as why:
                    unavailable[server.name] = str(why)
                    said(f"  {why}")
    return {"rounds": rounds, "answers": answers, "unavailable": unavailable}


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=1, help="of each load; twice that for 1000 rows")
    names = [server.name for server in SERVERS]
    parser.add_argument("--only", default=names, type=lambda text: text.split(","), help=", ".join(names))
    parser.add_argument("--json", type=Path, help="write all figures of all rounds here")
    arguments = parser.parse_args()
    if unknown := set(arguments.only) - set(names):
        parser.error(f"--only: no server {', '.join(unknown)}; there are: {', '.join(names)}")
    return arguments


def measure_all(started: Running, model: Path, seconds: int) -> dict:
    warm_up(started, model)
    loads = {
        key(rows, connections): measure(started, model, rows, connections, seconds)
        for rows, all_connections in LOADS.items()
        for connections in all_connections
    }
    settle(started.pid)
    return {"cold_start": started.cold_start, "memory": memory(started.pid), "loads": loads}


def limit(model: Path) -> dict:
    "Beside each server, since the machine is not equally fast all the time."
    command = [sys.executable, LIMIT, model, "0.4"]
    return {
        "limit": json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    }


def machine() -> str:
    cpu = next(
        (line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), ""
    )
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores of {cpu.partition(': ')[2]}, Python {sys.version.split()[0]}, LightGBM {version('lightgbm')}"


def said(words: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
