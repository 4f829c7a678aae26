"""The end of a deployment on a host: what is live is recorded, and what is no longer needed is removed.

Nothing is recorded for a container that does not run or that the proxy does not know, nothing that the proxy sends requests to is
removed, and whoever records asks the proxy once more at the end.
"""

import json
import os
import shutil
import subprocess

from ansible.module_utils.container_engine import removal
from ansible.module_utils.journal_chain import append
from ansible.module_utils.proxy_config import write_whole
from ansible.module_utils.proxy_state import forget_second, servers, wait_for_end
from ansible.module_utils.release_trust import note_signer
from ansible.module_utils.stroke import Failed


def record(folder, state, entry):
    "Write the state and the journal's next line, and note whose signature counted; the line. Raises `OSError`."
    note_signer(os.path.join(folder, "releases", state["release"]), entry)
    write_whole(os.path.join(folder, "state.json"), json.dumps(state, sort_keys=True, indent=2) + "\n")
    return append(os.path.join(folder, "journal.jsonl"), entry)


def settle(engine, container, service, colour, run):
    "From now on this container comes back after a reboot, and the proxy forgets the one that stood by."
    if engine == "docker":  # a host with podman starts what is recorded: see start_at_boot
        run(["docker", "update", "--restart=unless-stopped", container], check_rc=True)
    forget_second(service, colour)


def retire(engine, service, folder, gone, step):
    """Stop and remove what is no longer needed. Raises `Lost`.

    `gone`: drain (processes of the proxy that still serve from the old container) and drain_seconds, stop (a container) and
    stop_seconds, and what to remove: containers, images, releases.
    """
    # Whatever the proxy still owes the old container ends by its own hard stop, and then the container may go.
    wait_for_end(gone["drain"], gone["drain_seconds"] + 5)
    step.fence()
    live = served(service)
    stop = gone.get("stop")
    if stop and port_of(engine, stop) not in live:
        said(engine, "stop", "--time", str(gone["stop_seconds"]), stop)
        step.fence()
    unused = [each for each in gone["containers"] if port_of(engine, each) not in live or not runs(engine, each)]
    if unused:
        said(*removal(engine, *unused))
    for image in gone["images"]:
        said(engine, "image", "rm", image)
    for release in gone["releases"]:
        shutil.rmtree(os.path.join(folder, "releases", release), ignore_errors=True)


def require_serving(engine, container, service, doing):
    "Raises `Failed` unless the container runs and the proxy sends the requests to it first."
    if not (runs(engine, container) and port_of(engine, container) in served(service)):
        raise Failed(f"{container} {doing}")


def last_lines(engine, container):
    "What a container has said last."
    return said(engine, "logs", "--tail", "20", container)


def said(*words):
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.stdout.decode("utf-8", "replace").strip()


def inspected(engine, container, what):
    done = subprocess.run(
        [engine, "container", "inspect", "-f", what, container],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return done.stdout.decode().strip()


def runs(engine, container):
    return inspected(engine, container, "{{.State.Running}}") == "true"


def port_of(engine, container):
    "The port of this host at which a container answers; 0 if there is no such container."
    bound = inspected(engine, container, '{{(index (index .HostConfig.PortBindings "8000/tcp") 0).HostPort}}')
    return int(bound) if bound.isdigit() else 0


def served(service):
    "The ports to which the proxy sends the requests of a service."
    return {server["port"] for server in servers(service)[:1]}
