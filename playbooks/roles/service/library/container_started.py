#!/usr/bin/python
"Start a container in the place of the last one of its name, on ports that nobody else has."

import hashlib
import os
import secrets
import socket

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.closed_network import NAME as CLOSED
from ansible.module_utils.closed_network import close
from ansible.module_utils.container_engine import removal, steady_network
from ansible.module_utils.deploy_lock import Lost, fence
from ansible.module_utils.proxy_config import write_whole
from ansible.module_utils.proxy_state import listens, wait_for_end

DOCUMENTATION = r"""
module: container_started
short_description: Start a fresh container
description:
  - Removes the container of that name, refuses ports that another program listens on, makes the folder of the
    prediction log, and starts the container. One in the network C(mlkit-closed) gets that network first, which lets it
    answer and not ask.
options:
  engine: {description: docker or podman., type: str, required: true}
  container: {description: Name of the container., type: str, required: true}
  command: {description: What starts it, after the engine's name., type: list, elements: str, required: true}
  ports: {description: Ports that must be free., type: list, elements: int, required: true}
  service: {description: Who needs the ports., type: str, required: true}
  probe:
    description:
      - File with the key with which deployments ask a service that wants API keys; made where it is missing. The container
        is told its hash. Empty for a service that everybody may ask.
    type: str
    default: ""
  drain: {description: Processes of the proxy that may still answer from the last one., type: list, elements: str, default: []}
  drain_seconds: {description: How long they may., type: int, default: 30}
  log_folder: {description: Made for uid 10001 unless it is empty., type: str, default: ""}
  fence: {description: The lock under which it is done; see deploy_lock., type: dict, default: {}}
author: [The mlkit developers]
"""

EXAMPLES = r"""
- name: Start the new container beside the old one
  container_started:
    engine: docker
    container: mlkit-flights-green
    command: [run, --detach, --name=mlkit-flights-green, "sha256:0f5c"]
    ports: [8002]
    service: flights
"""

RETURN = r"""
cause: {description: Why it was not started., type: str, returned: failure}
"""


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


def main():
    module = AnsibleModule(
        argument_spec={
            "engine": {"type": "str", "required": True},
            "container": {"type": "str", "required": True},
            "command": {"type": "list", "elements": "str", "required": True},
            "ports": {"type": "list", "elements": "int", "required": True},
            "service": {"type": "str", "required": True},
            "probe": {"type": "str", "default": ""},
            "drain": {"type": "list", "elements": "str", "default": []},
            "drain_seconds": {"type": "int", "default": 30},
            "log_folder": {"type": "str", "default": ""},
            "fence": {"type": "dict", "default": {}},
        },
    )
    want = module.params

    def fail(cause):
        module.fail_json(msg=cause, cause=cause)

    def still_ours():
        try:
            fence(want["fence"])
        except Lost as lost:
            fail(str(lost))

    wait_for_end(want["drain"], want["drain_seconds"] + 5)
    still_ours()
    code, _, err = module.run_command(removal(want["engine"], want["container"]))
    if code and "No such container" not in err:
        fail("the last container of this name could not be removed: " + err.strip())
    ours = listens(want["service"])  # a service without a live container still has its port in the proxy
    for port in want["ports"]:
        if port not in ours and is_taken(port):
            fail(
                "port taken: another program listens on port {0}, which {1} needs; see which with"
                " ss -ltnp 'sport = :{0}', or move the service with service_ports".format(
                    port, want["service"]
                )
            )
    if want["log_folder"]:
        os.makedirs(want["log_folder"], mode=0o700, exist_ok=True)
        os.chown(want["log_folder"], 10001, 10001)
    command = list(want["command"])
    if want["probe"]:
        command.insert(1, "--env=MLKIT_PROBE=" + probe_hash(want["probe"]))  # after `run`
    still_ours()
    is_closed = "--network=" + CLOSED in command
    if is_closed:
        try:
            close(want["engine"], module.run_command)
        except OSError as error:
            fail(f"its network cannot be closed: {error}. Mend that, or let it reach others with service_network=open")
        still_ours()
    code, out, err = module.run_command([want["engine"], *command])
    if code:
        last = ((err or out).strip().splitlines() or ["exit code {}".format(code)])[-1]
        kind = (
            "port taken: "
            if "already allocated" in last or "already in use" in last
            else "cannot be started: "
        )
        fail(("disk full: " if "no space left" in last.lower() else kind) + last)
    if want["engine"] == "podman":
        steady_network(module.run_command, CLOSED if is_closed else "podman")
    module.exit_json(changed=True)


if __name__ == "__main__":
    main()
