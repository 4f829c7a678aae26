"""A new container: started in the place of the last one of its name, and waited for until it serves the model that we expect."""

import hashlib
import os
import secrets
import socket
import time

from .closed_network import NAME as CLOSED
from .closed_network import close
from .container_engine import exit_of, removal, steady_network, storage
from .failed import Failed
from .full_disk import disk_full
from .host_look import model_in
from .proxy_config import write_whole
from .proxy_state import listens, wait_for_end
from .rollout import ask, gate


def is_taken(port):
    with socket.socket() as link:
        link.settimeout(2)
        return link.connect_ex(("127.0.0.1", port)) == 0


def probe_hash(path):
    "The hash of the deployment's key, which is made if there is none."
    if not os.path.exists(path):
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        write_whole(path, "mlkit_" + secrets.token_hex(32), 0o400)
    with open(path, "rb") as file:
        return "sha256:" + hashlib.sha256(file.read()).hexdigest()


def start(want, step):
    """Start a container, under the step's lock. Raises `Failed`, `Lost`.

    `want`: engine, container (its name), command (after the engine's name), ports (which nobody else may have), service, probe (the file
    with the deployment's key, made where it is missing; empty for a service that everybody may ask), log_folder (made for the
    server; empty for none), drain (processes of the proxy that may still answer from the last one) and drain_seconds.
    """
    wait_for_end(want["drain"], want["drain_seconds"] + 5)
    step.fence()
    code, _, err = step.run(removal(want["engine"], want["container"]))
    if code and "No such container" not in err:
        raise Failed("the last container of this name could not be removed: " + err.strip())
    require_ports(want["service"], want["ports"])
    if want["log_folder"]:
        os.makedirs(want["log_folder"], mode=0o700, exist_ok=True)
        os.chown(want["log_folder"], 10001, 10001)
    command = list(want["command"])
    if want["probe"]:
        command.insert(1, "--env=MLKIT_PROBE=" + probe_hash(want["probe"]))  # after `run`
    is_closed = "--network=" + CLOSED in command
    if is_closed:
        close_network(want["engine"], step)
    step.fence()
    code, out, err = step.run([want["engine"], *command])
    if code:
        last = ((err or out).strip().splitlines() or [f"exit code {code}"])[-1]
        taken = "already allocated" in last or "already in use" in last
        if "no space left" in last.lower():
            raise Failed(f"{disk_full(storage(want['engine'], step.run))}; {want['engine']} said: {last}")
        raise Failed(("port taken: " if taken else "cannot be started: ") + last)
    if want["engine"] == "podman":
        steady_network(step.run, CLOSED if is_closed else "podman")


def close_network(engine, step):
    "A container in the closed network may answer and not ask. Raises `Failed`, `Lost`."
    step.fence()
    try:
        close(engine, step.run)
    except OSError as error:
        raise Failed(
            f"its network cannot be closed: {error}. Mend that, or let it reach others with service_network=open"
        ) from error


def require_ports(service, ports):
    "Raises `Failed` for a port on which another program listens."
    ours = listens(service)  # a service without a live container still has its port in the proxy
    for port in ports:
        if port not in ours and is_taken(port):
            raise Failed(
                f"port taken: another program listens on port {port}, which {service} needs; see which with"
                f" ss -ltnp 'sport = :{port}', or move the service with service_ports"
            )


def wait_until_ready(engine, container, port, model, seconds, run):
    """Wait until a container serves the expected model, and give the gate.

    Raises `Failed`: at once when the container has exited or is ready with another model, otherwise when the time is up.
    """
    began = look_at = time.monotonic()
    while True:
        if time.monotonic() >= look_at:  # dearer than the question itself
            look_at = time.monotonic() + 1
            if ended := exit_of(engine, run, container):
                killed = " (killed: out of memory, see service_memory)" if ended[1] else ""
                raise Failed(f"exited at start with code {ended[0]}{killed}")
        status, body = ask(port, "/readyz", seconds=5)
        if status == 200:
            if model_in(body) != model:
                said = model_in(body) or body[:200]
                raise Failed(f"wrong model: the release promises {model}, /readyz says {said}")
            return gate("seconds until ready", round(time.monotonic() - began, 2), seconds, 1)
        if time.monotonic() - began > seconds:
            said = f"/readyz answered {status}: {body[:300]}" if status else f"nobody answered on port {port}: {body}"
            raise Failed(f"not ready in time: after {seconds} s (service_ready_seconds) {said}")
        time.sleep(0.1)
