"""The servers beside each other: how each is built, started, asked and stopped.

A server is a folder under peers/: its own code, requirements.txt with every version pinned (made from
requirements.in by `uv pip compile`), and `serve`, the one place with its launch command. `serve` finds in its
environment: PORT and SPARE_PORTS (two more), MODEL (the folder of model.py), SCRATCH (an empty folder), WORKERS.
`prepare`, if there is one, is run before each launch and is not measured.
mlkit has no requirements of its own: it runs in the environment that runs this, as a release does.
"""

import hashlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from processes import tree

PEERS = Path(__file__).parent / "peers"
ENVIRONMENTS = Path("~/.cache/mlkit/bench-peers").expanduser()
WORKERS, PATIENCE, POLITENESS = 2, 60, 3  # processes, seconds until it answers, seconds until it is killed


@dataclass(frozen=True)
class Server:
    name: str  # its folder under peers/
    title: str
    format: str = "rows"
    route: str = "/predict"
    examined: bool = True  # whether it claims to answer everything right

    @property
    def folder(self) -> Path:
        return PEERS / self.name


SERVERS = [
    Server("mlkit", "mlkit"),
    Server("mlkit_bare", "mlkit without contract", examined=False),
    Server("fastapi_tuned", "FastAPI, tuned by hand"),
    Server("flask_naive", "Flask, naive"),
    Server("fastapi_quickstart", "FastAPI, quick-start"),
    Server("mlserver", "MLServer", "tensor", "/v2/models/bench/infer"),
    Server("litserve", "LitServe"),
    Server("bentoml", "BentoML"),
    Server("mlflow", "MLflow", "records", "/invocations"),
]


class CannotServe(Exception):
    "This server could not be built or started; the message says why."


class Running:
    "A started server."

    def __init__(self, server: Server, process: subprocess.Popen, port: int):
        self.server, self.pid, self.port = server, process.pid, port
        self.url = f"http://127.0.0.1:{port}{server.route}"
        self.cold_start = 0.0  # seconds from the launch to the first right status

    def bodies(self, model: Path, rows: int) -> Path:
        "The file with the bodies that this server understands, one per line."
        return model / "bodies" / f"{self.server.format}-{rows}"

    def ask(self, body: bytes, connection: http.client.HTTPConnection | None = None) -> tuple[int, bytes]:
        "Status and body of the answer; over a connection of its own if none is given."
        asked = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            asked.request("POST", self.server.route, body, {"Content-Type": "application/json"})
            answer = asked.getresponse()
            return answer.status, answer.read()
        finally:
            if not connection:
                asked.close()


def build(server: Server) -> Path:
    "The folder with the server's programs; built once for each content of its requirements."
    requirements = server.folder / "requirements.txt"
    if not requirements.exists():
        return Path(sys.executable).parent
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    environment = ENVIRONMENTS / f"{server.name}-{digest}"
    if not (environment / "ready").exists():
        print(f"building {environment}", file=sys.stderr)
        shutil.rmtree(environment, ignore_errors=True)
        _uv("venv", "-q", "--python", sys.executable, environment)
        _uv("pip", "install", "-q", "--python", environment / "bin/python", "-r", requirements)
        (environment / "ready").touch()
    return environment / "bin"


def _uv(*words: str | Path) -> None:
    uv = Path(sys.executable).parent / "uv"
    done = subprocess.run(
        [uv, *words], env=os.environ | {"UV_PYTHON_DOWNLOADS": "never"}, capture_output=True, text=True
    )
    if done.returncode:
        raise CannotServe(done.stderr.strip())


@contextmanager
def running(server: Server, model: Path, scratch: Path):
    "Starts a server with an empty folder `scratch`, waits for its first answer, and ends all of it."
    programs = build(server)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    port, *spare = free_ports(3)
    environment = {name: os.environ[name] for name in ("HOME", "LANG", "SSL_CERT_FILE") if name in os.environ}
    environment |= {
        "PATH": f"{programs}:/usr/bin:/bin",
        "PORT": str(port),
        "SPARE_PORTS": " ".join(map(str, spare)),
        "MODEL": str(model),
        "SCRATCH": str(scratch),
        "TMPDIR": str(scratch),
        "WORKERS": str(WORKERS),
        "OMP_NUM_THREADS": "1",  # two processes on two cores: for everybody the fastest, and for some by 7 times
        "DO_NOT_TRACK": "true",
    }
    if (server.folder / "prepare").exists():
        done = subprocess.run(
            ["/bin/sh", "prepare"], cwd=server.folder, env=environment, capture_output=True, text=True
        )
        if done.returncode:
            raise CannotServe(done.stderr[-1000:])
    log = scratch / "log"
    began = time.perf_counter()
    with open(log, "wb") as output:
        process = subprocess.Popen(
            ["/bin/sh", "serve"],
            cwd=server.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        started = Running(server, process, port)
        with started.bodies(model, 1).open("rb") as bodies:
            body = bodies.readline().strip()
        _wait_for_answer(started, process, body, log)
        started.cold_start = time.perf_counter() - began
        yield started
    finally:
        stop(process)
        shutil.rmtree(scratch, ignore_errors=True)


def _wait_for_answer(started: Running, process: subprocess.Popen, body: bytes, log: Path) -> None:
    deadline, said = time.monotonic() + PATIENCE, "nothing"
    while time.monotonic() < deadline and process.poll() is None:
        try:
            status, answer = started.ask(body)
            if status == 200:
                return
            said = f"{status} {answer[:300]!r}"
        except OSError:
            pass
        except http.client.HTTPException as error:
            said = repr(error)
        time.sleep(0.01)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
    raise CannotServe(f"it answered {said}\n{tail}")


def stop(process: subprocess.Popen) -> None:
    "Asks the server to end, then kills what is left of its tree; at once if we are asked to end ourselves meanwhile."
    members = tree(process.pid)
    process.terminate()
    try:
        deadline = time.monotonic() + POLITENESS
        while time.monotonic() < deadline and (process.poll() is None or any(map(_alive, members))):
            time.sleep(0.02)
    finally:
        left = [pid for pid in {*members, *tree(process.pid)} if _alive(pid)]
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        while any(map(_alive, left)):
            time.sleep(0.01)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
