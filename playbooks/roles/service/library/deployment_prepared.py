#!/usr/bin/python
"The second stroke of a deployment on a host: the image is loaded, and its container runs beside the old one and has proved itself."

import os

from ansible.module_utils.golden_rows import replay
from ansible.module_utils.image_layers import bring, keep_records
from ansible.module_utils.new_container import start, wait_until_ready
from ansible.module_utils.proxy_piece import lead_clients
from ansible.module_utils.recover_at_boot import recover_at_boot
from ansible.module_utils.shadow import compare
from ansible.module_utils.start_at_boot import start_at_boot
from ansible.module_utils.stroke import run_stroke

DOCUMENTATION = r"""
module: deployment_prepared
short_description: Start the container of a release beside the one that serves, and let it prove itself
description:
  - Loads the image from the layers that were sent, or from a registry. What must be sent first is returned, and then nothing was started.
  - The container must be ready with the right model in time, and answer the golden rows to the bit; where a shadow is asked for, it
    answers requests of the live release before. Clients get none of these answers.
options:
  engine: {description: docker or podman., type: str, required: true}
  service: {description: Name of the service., type: str, required: true}
  folder: {description: The folder of the service., type: path, required: true}
  release: {description: The release; see deployment_plan., type: dict, required: true}
  plan: {description: The plan; see deployment_plan., type: dict, required: true}
  texts: {description: The release's files by name; empty for one that the host keeps., type: dict, default: {}}
  image: {description: The image in the release's archive; empty for one that the host keeps., type: dict, default: {}}
  sent: {description: Whether the layers that were asked for have been sent., type: bool, default: false}
  everything: {description: Whether all layers were asked for., type: bool, default: false}
  listen: {description: The service's port., type: int, required: true}
  command: {description: What starts the container, after the engine's name., type: list, elements: str, required: true}
  ready_seconds: {description: How long it may take until it is ready., type: int, required: true}
  predictions: {description: Whether the host keeps a log of the predictions., type: bool, required: true}
  shadow: {description: "How it is compared with the live release; see shadow. Its command has no log of predictions.", type: dict, default: {}}
  probe: {description: File with the key with which deployments ask., type: str, default: ""}
  proxy: {description: The proxy's configuration; see proxy_piece., type: dict, required: true}
  certificate: {description: Chain and key of the proxy's piece., type: str, default: ""}
  drain_seconds: {description: How long the processes of the proxy that finish may take., type: int, default: 30}
  fence: {description: The lock under which it is done; see deploy_lock., type: dict, required: true}
author: [The mlkit developers]
"""

EXAMPLES = r"""
- name: Start the new container, and let it prove itself
  prepare_release:
    release: "{{ asked.release }}"
    begun: "{{ service_begun }}"
"""

RETURN = r"""
ready: {description: That the container runs and has proved itself., type: bool, returned: once it does}
missing: {description: Layers to send first, with the bytes that are here., type: dict, returned: when the image is not there yet}
everything: {description: Whether the engine asks for all layers., type: bool, returned: when the image is not there yet}
registry: {description: Why the registry did not give the image., type: str, returned: when the image is not there yet}
compared: {description: What the shadow found., type: dict, returned: with a shadow}
gates: {description: What was measured., type: list, returned: always}
cause: {description: Why it is not ready., type: str, returned: failure}
"""


def prepare(step):
    want, plan = step.want, step.want["plan"]
    step.fence()
    if want["image"]:
        image = {**want["release"]["image"], **want["image"]}
        lacking = bring(want["engine"], want["folder"], image, want["sent"], want["everything"], step.run)
        if lacking:
            return lacking
        keep_records(want["folder"], want["release"]["id"], want["texts"])
    draining = []
    if plan["second"]:  # a deployment that was cut off has left the proxy two containers
        draining = lead_clients(want, plan["old"]["listen"], plan["old"])
    if want["engine"] == "podman":
        start_at_boot(want["service"], want["folder"], step.run)
    recover_at_boot(want["service"], want["folder"], want["engine"], step.run)
    compared = None
    if want["shadow"] and plan["old"]:
        run_container(step, want["shadow"]["command"], draining)
        step.gates.clear()  # the journal has the time until ready of the start that counts
        wanted = {**want["shadow"], "port": plan["port"], "release": plan["old"]["release"], "probe": want["probe"]}
        compared = compare(wanted, step.gates)
    run_container(step, want["command"], draining)
    golden = os.path.join(want["folder"], "releases", want["release"]["id"], "golden.json")
    replay(golden, plan["port"], want["release"]["model"]["digest"], want["probe"])
    return {"ready": True, **({"compared": compared} if compared else {})}


def run_container(step, command, draining):
    "Start the container, and wait until it is ready."
    want, plan = step.want, step.want["plan"]
    same = plan["old"] and plan["old"]["listen"] == want["listen"]
    start(
        {
            "engine": want["engine"],
            "container": plan["container"],
            "command": command,
            "ports": [plan["port"]] + ([] if same else [want["listen"]]),
            "service": want["service"],
            "probe": want["probe"],
            "drain": draining,
            "drain_seconds": want["drain_seconds"],
            "log_folder": os.path.join(want["folder"], "predictions") if want["predictions"] else "",
        },
        step,
    )
    model = want["release"]["model"]["digest"]
    step.gates.append(
        wait_until_ready(
            want["engine"], plan["container"], plan["port"], model, want["ready_seconds"], step.run
        )
    )


if __name__ == "__main__":
    options = {
        "engine": {"type": "str", "required": True},
        "service": {"type": "str", "required": True},
        "folder": {"type": "path", "required": True},
        "release": {"type": "dict", "required": True},
        "plan": {"type": "dict", "required": True},
        "texts": {"type": "dict", "default": {}},
        "image": {"type": "dict", "default": {}},
        "sent": {"type": "bool", "default": False},
        "everything": {"type": "bool", "default": False},
        "listen": {"type": "int", "required": True},
        "command": {"type": "list", "elements": "str", "required": True},
        "ready_seconds": {"type": "int", "required": True},
        "predictions": {"type": "bool", "required": True},
        "shadow": {"type": "dict", "default": {}},
        "probe": {"type": "str", "default": ""},
        "proxy": {"type": "dict", "required": True},
        "certificate": {"type": "str", "default": "", "no_log": True},
        "drain_seconds": {"type": "int", "default": 30},
        "fence": {"type": "dict", "required": True},
    }
    run_stroke(prepare, options)
