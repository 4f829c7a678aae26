"A live server of a small model, as a release starts it, and what clients send to it."

import http.client
import os
import random
import socket
import subprocess
import sys
from pathlib import Path

import psutil
from eventually import eventually

from mlkit.testing import save_bundle, small_model

ROOT = Path(__file__).parents[2]
CONF = ROOT / "deploy/serve/gunicorn.conf.py"
PLAIN = b'{"rows":[{"distance":3,"temp":1.5,"carrier":"AA"}]}'


def save_model(folder, trees=5, step=None):
    "A bundle in `folder`: a whole number, a number that may be missing, a category that may be new."
    return save_bundle(small_model(trees, step=step), folder)


class LiveServer:
    "gunicorn as a release starts it."

    def __init__(
        self,
        model,
        folder,
        workers=2,
        app="mlkit.serve.asgi:application()",
        options=(),
        ready="/readyz",
        before=(),  # words of a command that starts the server
        **environment,
    ):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = folder / "server.log"
        environment = {name: str(value) for name, value in environment.items()}
        self.process = subprocess.Popen(
            [*before, sys.executable, "-m", "gunicorn", "-c", str(CONF), *options, app],
            env=os.environ
            | {"PORT": str(self.port), "MLKIT_HOST": "127.0.0.1", "MLKIT_MODEL": str(model)}
            | {"WEB_CONCURRENCY": str(workers), "PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics")}
            | environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log.open("ab"),
            stderr=subprocess.STDOUT,
        )
        eventually(lambda: self.get(ready)[0] == 200)

    def connect(self, timeout=60):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def get(self, path):
        connection = self.connect()
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def socket(self, timeout=60):
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def send(self, data, pieces=1, seed=0):
        "All that comes back for raw bytes, sent in pieces cut at random, until the server closes or is silent."
        with self.socket() as client:
            cuts = sorted(random.Random(seed).choices(range(1, max(2, len(data))), k=pieces - 1))
            for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
                client.sendall(data[begin:end])
            client.shutdown(socket.SHUT_WR)
            return read_all(client)

    def workers(self):
        return psutil.Process(self.process.pid).children()

    def both_workers(self):
        "The process ids of two workers, once there are two."
        return eventually(lambda: len(found := {worker.pid for worker in self.workers()}) == 2 and found)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise


def read_all(client):
    "What comes until the other side closes."
    received = b""
    try:
        while piece := client.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return received


def request(body=PLAIN, path="/predict", method="POST", content_type="application/json", **headers):
    "A request's bytes."
    lines = [f"{method} {path} HTTP/1.1", "Host: test", f"Content-Type: {content_type}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body
