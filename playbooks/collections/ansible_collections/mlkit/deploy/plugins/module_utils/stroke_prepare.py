"""The second stroke of a deployment on a host: the image is loaded, and its container runs beside the old one and proves itself.

The image comes from the layers that were sent, or from a registry. What must be sent first is returned, and then nothing was started. The container must
be ready with the right model in time, and answer the golden rows to the bit; where a shadow is asked for, it answers requests of the live release
before. Clients get none of these answers.
"""

import os

from .golden_rows import replay
from .image_layers import bring, keep_records
from .new_container import start, wait_until_ready
from .proxy_piece import lead_clients
from .recover_at_boot import recover_at_boot
from .shadow import compare
from .start_at_boot import start_at_boot


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

