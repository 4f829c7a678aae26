"""A server forks, restarts and is replaced under load: it never hangs and loses no request.

LightGBM's threads do not survive a fork, so the worst case is the app that is loaded, and has predicted, in the parent
(`--preload`: the golden rows are asked while it is loaded). `MLKIT_LONG=1` makes 200 restarts of 20.
"""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from eventually import eventually
from laptop import Laptop, Load, free_port

from mlkit.model.bundle import open_folder

APP = "mlkit.serve.asgi:application()"
WORKERS = 2
RESTARTS = 200 if os.environ.get("MLKIT_LONG") else 20
PARENTS = {  # arguments and environment
    "loaded in each worker": ([], {}),
    "loaded in the parent": (["--preload"], {}),
    "loaded in the parent with four threads": (["--preload"], {"OMP_NUM_THREADS": "4"}),
}


class Server:
    "A real gunicorn with the settings of a release."

    def __init__(self, root, model, folder, arguments=(), environment=None):
        self.port, self.log, self.pidfile = free_port(), folder / "log", folder / "pid"
        # the script: `python -m gunicorn` cannot be replaced by SIGUSR2, its second start finds gunicorn/http as `http`
        gunicorn, conf = Path(sys.executable).with_name("gunicorn"), root / "deploy/serve/gunicorn.conf.py"
        ours = {"MLKIT_MODEL": str(model), "MLKIT_HOST": "127.0.0.1", "PORT": str(self.port)}
        with self.log.open("ab") as log:
            self.started = subprocess.Popen(
                [gunicorn, "-c", conf, "--pid", self.pidfile, *arguments, APP],
                env=os.environ | ours | {"WEB_CONCURRENCY": str(WORKERS)} | (environment or {}),
                stdout=log,
                stderr=log,
            )

    def master(self):
        return psutil.Process(int(self.pidfile.read_text()))

    def workers(self, master=None):
        return {child.pid for child in (master or self.master()).children()}

    def replace_workers(self):
        "SIGHUP: as many new workers, and the old ones end when they have answered."
        before, master = self.workers(), self.master()
        master.send_signal(signal.SIGHUP)
        eventually(lambda: len(now := self.workers()) == WORKERS and not now & before)

    def replace_master(self):
        "SIGUSR2: a new master takes over the socket, then the old one ends."
        old, second = self.master(), self.pidfile.with_name("pid.2")
        old.send_signal(signal.SIGUSR2)
        eventually(second.exists)
        new = psutil.Process(int(eventually(second.read_text)))
        eventually(lambda: len(self.workers(new)) == WORKERS)
        old.terminate()
        self.started.wait(timeout=60) if old.pid == self.started.pid else old.wait(timeout=60)
        eventually(lambda: self.pidfile.exists() and int(self.pidfile.read_text()) == new.pid)

    def ask(self, rows):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(
            "POST", "/predict", json.dumps({"rows": rows}), {"Content-Type": "application/json"}
        )
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer["predictions"]

    def troubles(self):
        "What gunicorn says of workers that hung, died or had to be killed."
        return re.findall(
            r".*(?:TIMEOUT|SIGKILL|SIGSEGV|SIGABRT|Traceback|ERROR|exited with code).*", self.log.read_text()
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        master = self.master() if self.pidfile.exists() else psutil.Process(self.started.pid)
        everybody = [master, *master.children(recursive=True)]
        master.terminate()
        _, alive = psutil.wait_procs(everybody, timeout=40)
        for process in alive:
            process.kill()
        self.started.wait(timeout=10)
        assert not alive, self.log.read_text()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    laptop = Laptop(tmp_path_factory.mktemp("laptop"))
    return laptop.folder / "store/models" / laptop.train(50).replace(":", "-")


@pytest.fixture(params=PARENTS.values(), ids=PARENTS)
def server(request, root, model, tmp_path):
    return lambda: Server(root, model, tmp_path, *request.param)


def test_each_start_answers_to_the_bit_and_each_end_is_in_time(server, model):
    golden = open_folder(model).golden
    for _ in range(RESTARTS):
        with server() as running:
            eventually(lambda: running.ask(golden["rows"]))
            for _ in range(2 * WORKERS):
                assert running.ask(golden["rows"]) == golden["predictions"]
        assert running.started.returncode == 0 and not running.troubles()


@contextmanager
def loads(server):
    "Two clients with keep-alive connections, once they have their first answer; `answered()` waits for one more each."
    with Load("127.0.0.1", server.port) as one, Load("127.0.0.1", server.port) as two:
        for load in (one, two):
            load.failures.clear()  # from before the server listened

        def answered():
            before = [len(load.models) for load in (one, two)]
            eventually(lambda: all(len(load.models) > n for load, n in zip((one, two), before, strict=True)))

        yield answered
    assert not one.failures + two.failures
    assert not server.troubles()


def test_workers_are_replaced_under_load_without_a_failed_request(server):
    with server() as running, loads(running) as answered:
        for _ in range(RESTARTS):
            running.replace_workers()
            answered()


def test_the_master_is_replaced_under_load_without_a_failed_request(server):
    with server() as running, loads(running) as answered:
        for _ in range(RESTARTS // 4):
            running.replace_master()
            answered()
