#!/usr/bin/python
"Start a container in the place of the last one of its name, on ports that nobody else has."

import os
import socket

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: container_started
short_description: Start a fresh container
description:
  - Removes the container of that name, refuses ports that another program listens on, makes the folder of the
    prediction log, and starts the container.
options:
  container: {description: Name of the container., type: str, required: true}
  command: {description: What starts it., type: list, elements: str, required: true}
  ports: {description: Ports that must be free., type: list, elements: int, required: true}
  service: {description: Who needs the ports., type: str, required: true}
  log_folder: {description: Made for uid 10001 unless it is empty., type: str, default: ""}
author: [The mlkit developers]
"""

EXAMPLES = r"""
- name: Start the new container beside the old one
  container_started:
    container: mlkit-flights-green
    command: [docker, run, --detach, --name=mlkit-flights-green, "sha256:0f5c"]
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


def main():
    module = AnsibleModule(
        argument_spec={
            "container": {"type": "str", "required": True},
            "command": {"type": "list", "elements": "str", "required": True},
            "ports": {"type": "list", "elements": "int", "required": True},
            "service": {"type": "str", "required": True},
            "log_folder": {"type": "str", "default": ""},
        },
    )
    want = module.params

    def fail(cause):
        module.fail_json(msg=cause, cause=cause)

    code, _, err = module.run_command(["docker", "rm", "--force", want["container"]])
    if code and "No such container" not in err:
        fail("the last container of this name could not be removed: " + err.strip())
    for port in want["ports"]:
        if is_taken(port):
            fail(
                "port taken: another program listens on port {0}, which {1} needs; see which with"
                " ss -ltnp 'sport = :{0}', or move the service with service_ports".format(
                    port, want["service"]
                )
            )
    if want["log_folder"]:
        os.makedirs(want["log_folder"], mode=0o700, exist_ok=True)
        os.chown(want["log_folder"], 10001, 10001)
    code, out, err = module.run_command(want["command"])
    if code:
        last = ((err or out).strip().splitlines() or ["exit code {}".format(code)])[-1]
        kind = (
            "port taken: "
            if "already allocated" in last or "already in use" in last
            else "cannot be started: "
        )
        fail(("disk full: " if "no space left" in last.lower() else kind) + last)
    module.exit_json(changed=True)


if __name__ == "__main__":
    main()
