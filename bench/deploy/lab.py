"Three real hosts, a project with real models, and load on the hosts: what all benches of deployments share."

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/integration"))

from conftest import Fleet  # noqa: E402
from eventually import eventually  # noqa: E402, F401
from laptop import Laptop  # noqa: E402

PORT = 8400
BODY = b'{"rows":[{"distance":3,"carrier":"AA"}]}'
IMAGES = {"MLKIT_BASE_IMAGE": "mlkit-base:bookworm", "MLKIT_BUILD_IMAGE": "mlkit-build:bookworm"}


class Lab(Laptop):
    "A project whose environment `fleet` is all hosts."

    def __init__(self, folder: Path, fleet: Fleet, **settings):
        super().__init__(folder)
        self.fleet = fleet
        self.addresses = [address for address, _ in fleet.states().values()]
        self.settings = {"service_port": PORT, "proxy_drain_seconds": 5} | settings
        lines = [f"{key} = {value}" for key, value in self.settings.items()]
        with open(folder / "settings.ini", "a") as file:
            file.write(f"[environment fleet]\ninventory = {fleet.inventory}\n" + "\n".join(lines) + "\n")

    def mlkit(self, *words, check=True, **environment):
        return super().mlkit(*words, check=check, **IMAGES | environment)

    def release(self, trees: int, late: int = 20) -> str:
        "Train a model of so many trees and build its release; its id."
        model = self.train(trees, late)
        self.mlkit("register", model)
        return json.loads(self.mlkit("release", model, "--json").stdout)["id"]

    def deploy(self, release: str) -> list[dict]:
        "The events of a deployment."
        return events(self.mlkit("deploy", "fleet", release, "--json"))

    def rollback(self) -> list[dict]:
        return events(self.mlkit("rollback", "fleet", "--json"))

    def releases_live(self) -> set[str]:
        return {ask(address, "/readyz")["release"] for address in self.addresses}


def events(done) -> list[dict]:
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def ask(address: str, path: str) -> dict:
    connection = http.client.HTTPConnection(address, PORT, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    if answer.status != 200:
        raise ConnectionError(f"{address}{path} answered {answer.status}")
    return json.loads(answer.read())


@contextmanager
def lab_of(hosts: int, **settings):
    "A fleet and a project, which end with the block."
    if os.geteuid():
        sys.exit("a fleet needs root: run this with sudo")
    subprocess.run([ROOT / "deploy/image/base"], check=True, stdout=subprocess.DEVNULL)
    with TemporaryDirectory(prefix="mlkit-bench-") as folder:
        fleet = Fleet(Path(folder) / "fleet")
        fleet("up", hosts)
        try:
            project = Path(folder) / "project"
            project.mkdir()
            yield Lab(project, fleet, **settings)
        finally:
            fleet("down")


@dataclass
class Answer:
    when: float  # time.time() at its end
    seconds: float
    failure: str = ""


class KeepAlive(threading.Thread):
    "A client that keeps its connection, asks one request after the other, and never asks twice."

    def __init__(self, address: str, pause: float = 0.005):
        super().__init__(daemon=True)
        self.address, self.pause = address, pause
        self.answers: list[Answer] = []
        self.ended = threading.Event()

    def run(self):
        connection = http.client.HTTPConnection(self.address, PORT, timeout=10)
        while not self.ended.wait(self.pause):
            began, failure = time.perf_counter(), ""
            try:
                connection.request("POST", "/predict", BODY, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                body = answer.read()
                if answer.status != 200:
                    failure = f"{answer.status} {body[:200]}"
            except Exception as error:
                failure = repr(error)
                connection.close()
            self.answers.append(Answer(time.time(), time.perf_counter() - began, failure))


@contextmanager
def load_on(lab: Lab, seconds: int, with_wrk: bool = True):
    "Keep-alive clients, and wrk, on every host; gives the clients, and what wrk says once the block has ended."
    clients = [KeepAlive(address) for address in lab.addresses]
    command = ["wrk", "-t", "1", "-c", "2", "-d", str(seconds), "-s", Path(__file__).with_name("bodies.lua")]
    told: list[dict] = []
    wrks = [
        subprocess.Popen([*command, f"http://{address}:{PORT}/predict"], stdout=subprocess.PIPE, text=True)
        for address in (lab.addresses if with_wrk else ())
    ]
    for client in clients:
        client.start()
    try:
        yield clients, told
    finally:
        for client in clients:
            client.ended.set()
        for client in clients:
            client.join()
        for wrk in wrks:
            wrk.send_signal(2)
            told.append(json.loads(wrk.communicate()[0].splitlines()[-1]))


def percentile(values: list[float], share: float) -> float:
    "In milliseconds."
    ordered = sorted(values)
    return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")
