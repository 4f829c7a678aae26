#!/usr/bin/python
"The end of a deployment on a host: the state and the journal are written, what is no longer needed is removed."

import errno
import hashlib
import json
import os
import shutil
import subprocess

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.container_engine import removal
from ansible.module_utils.deploy_lock import Lost, fence
from ansible.module_utils.journal_chain import append
from ansible.module_utils.proxy_config import write_whole
from ansible.module_utils.proxy_state import forget_second, servers, wait_for_end

DOCUMENTATION = r"""
module: service_kept
short_description: Record a deployment and remove what it left behind
description:
  - Writes C(state) where there is one, then the journal's next line. From then on the container C(lives) comes back after
    a reboot, and the proxy forgets the one that stood by.
  - Notes in the release's folder whose signature counted, for release_signature, when its key counts no longer.
  - Waits until the processes in C(drain) have ended, then stops C(stop) and removes containers, images and folders.
  - Nothing is recorded for a container that does not run or that the proxy does not know, nothing that the proxy sends
    requests to is removed, and at the end the proxy is asked once more.
options:
  engine: {description: docker or podman., type: str, required: true}
  folder: {description: The folder of the service., type: path, required: true}
  entry: {description: What the journal says., type: dict, required: true}
  state: {description: The state from now on., type: dict}
  lives: {description: The container that is live from now on., type: str, default: ""}
  drain: {description: Processes of the proxy that still serve the old container., type: list, elements: str, default: []}
  drain_seconds: {description: How long they may take., type: int, default: 30}
  stop: {description: The container to stop., type: str, default: ""}
  stop_seconds: {description: How long it may take to stop., type: int, default: 30}
  containers: {description: Containers to remove., type: list, elements: str, default: []}
  images: {description: Images to remove., type: list, elements: str, default: []}
  releases: {description: Releases whose folders are removed., type: list, elements: str, default: []}
  logs_of: {description: A container whose last lines are given back., type: str, default: ""}
  fence: {description: The lock under which it is done; see deploy_lock., type: dict, default: {}}
author: [The mlkit developers]
"""

EXAMPLES = r"""
- name: Record what is live and let the old container finish
  service_kept:
    engine: docker
    folder: /var/lib/mlkit/flights
    state: "{{ service_state }}"
    entry: {outcome: deployed}
    stop: mlkit-flights-blue
"""

RETURN = r"""
entry: {description: The journal's new line., type: dict, returned: success}
log: {description: The last lines of a container., type: str, returned: with logs_of}
cause: {description: What could not be done., type: str, returned: failure}
"""


def said(*words):
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.stdout.decode("utf-8", "replace").strip()


def record(want):
    "Write the state, if there is a new one, and the journal's next line."
    os.makedirs(want["folder"], mode=0o755, exist_ok=True)
    if want["state"]:
        note_signer(os.path.join(want["folder"], "releases", want["state"]["release"]), want["entry"])
        text = json.dumps(want["state"], sort_keys=True, indent=2) + "\n"
        write_whole(os.path.join(want["folder"], "state.json"), text)
    return append(os.path.join(want["folder"], "journal.jsonl"), want["entry"])


def note_signer(folder, entry):
    "What of this release was accepted on this host, and by whose signature."
    if not entry.get("signer"):
        return
    with open(os.path.join(folder, "release.json"), "rb") as file:
        record = "sha256:" + hashlib.sha256(file.read()).hexdigest()
    accepted = {"record": record, "signer": entry["signer"], "when": entry.get("when")}
    write_whole(os.path.join(folder, "accepted.json"), json.dumps(accepted, sort_keys=True) + "\n")


def main():
    texts = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "engine": {"type": "str", "required": True},
            "folder": {"type": "path", "required": True},
            "entry": {"type": "dict", "required": True},
            "state": {"type": "dict"},
            "lives": {"type": "str", "default": ""},
            "drain": texts,
            "drain_seconds": {"type": "int", "default": 30},
            "stop": {"type": "str", "default": ""},
            "stop_seconds": {"type": "int", "default": 30},
            "containers": texts,
            "images": texts,
            "releases": texts,
            "logs_of": {"type": "str", "default": ""},
            "fence": {"type": "dict", "default": {}},
        },
    )
    want, engine = module.params, module.params["engine"]
    log = said(engine, "logs", "--tail", "20", want["logs_of"]) if want["logs_of"] else ""
    try:
        entry, unwritten = keep(module, want, engine)
        retire(want, engine)
        if want["lives"] and not serves(engine, want):
            raise NotServing(want["lives"] + " is recorded as live, and does not run or gets no requests")
    except (Lost, NotServing, ValueError) as error:
        module.fail_json(msg=str(error), cause=str(error), log=log)
    if unwritten:
        module.fail_json(msg=unwritten, cause=unwritten, log=log)
    module.exit_json(changed=True, entry=entry, log=log)


class NotServing(Exception):
    "The container that is to be live is not what answers."


def keep(module, want, engine):
    "Record what is live. Raises `NotServing`, `Lost`; the entry, or why it could not be written."
    fence(want["fence"])
    if want["lives"] and not serves(engine, want):
        raise NotServing(want["lives"] + " does not run or gets no requests, so nothing was recorded")
    try:
        entry, unwritten = record(want), None
    except OSError as error:
        entry, kind = None, "disk full: " if error.errno == errno.ENOSPC else "the record could not be written: "
        unwritten = kind + str(error)
    if unwritten and want["state"]:  # what is not recorded is not live: nothing is retired for it
        module.fail_json(msg=unwritten, cause=unwritten)
    if want["lives"]:
        if engine == "docker":  # a host with podman starts what is recorded: see started_at_boot
            module.run_command(["docker", "update", "--restart=unless-stopped", want["lives"]], check_rc=True)
        forget_second(want["entry"]["service"], want["state"]["colour"])
    return entry, unwritten


def retire(want, engine):
    "Stop and remove what is no longer needed. Raises `Lost`."
    # Whatever the proxy still owes the old container ends by its own hard stop, and then the container may go.
    wait_for_end(want["drain"], want["drain_seconds"] + 5)
    fence(want["fence"])
    live = served(want["entry"]["service"])
    if want["stop"] and port_of(engine, want["stop"]) not in live:
        said(engine, "stop", "--time", str(want["stop_seconds"]), want["stop"])
        fence(want["fence"])
    gone = [each for each in want["containers"] if port_of(engine, each) not in live or not runs(engine, each)]
    if gone:
        said(*removal(engine, *gone))
    for image in want["images"]:
        said(engine, "image", "rm", image)
    for release in want["releases"]:
        shutil.rmtree(os.path.join(want["folder"], "releases", release), ignore_errors=True)


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


def serves(engine, want):
    "Whether the container that is to be live runs, and the proxy sends the requests to it first."
    live = want["lives"]
    return runs(engine, live) and port_of(engine, live) in served(want["entry"]["service"])


if __name__ == "__main__":
    main()
