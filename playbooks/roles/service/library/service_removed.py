#!/usr/bin/python
"The end of a service on a host: its containers, images and files go, its journal stays."

import glob
import json
import os
import shutil
import subprocess

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.boot_script import remove_from_boot
from ansible.module_utils.closed_network import take_away
from ansible.module_utils.container_engine import bounded, complete, removal
from ansible.module_utils.deploy_lock import Lost, fence
from ansible.module_utils.failed import Failed
from ansible.module_utils.journal_chain import append
from ansible.module_utils.pending import publish
from ansible.module_utils.proxy_state import wait_for_end
from ansible.module_utils.recover_at_boot import forget_at_boot

DOCUMENTATION = r"""
module: service_removed
short_description: Remove what a service has on a host, but its journal
description:
  - Writes the journal's next line, waits until the processes in C(drain) have ended, then removes the containers and images of
    the service, what starts it at boot, and all files in its folder but the journal.
  - The proxy must send it nothing any more.
options:
  engine: {description: docker or podman., type: str, required: true}
  service: {description: Name of the service., type: str, required: true}
  folder: {description: The folder of the service., type: path, required: true}
  entry: {description: What the journal says., type: dict, required: true}
  drain: {description: Processes of the proxy that still serve it., type: list, elements: str, default: []}
  drain_seconds: {description: How long they may take., type: int, default: 30}
  fence: {description: The lock under which it is done; see deploy_lock. It goes with the folder., type: dict, required: true}
author: [The mlkit developers]
"""

EXAMPLES = r"""
- name: Remove what flights has on the host
  service_removed:
    engine: docker
    service: flights
    folder: /var/lib/mlkit/flights
    entry: {outcome: removed}
    fence: {path: /var/lib/mlkit/flights/lock.json, token: ops@desk}
"""

RETURN = r"""
entry: {description: The journal's new line., type: dict, returned: success}
gone: {description: What was removed., type: list, elements: str, returned: success}
cause: {description: What could not be done., type: str, returned: failure}
"""


def lines_of(*words):
    done = complete(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return done.stdout.decode("utf-8", "replace").split()


def images_of(engine, folder):
    "The tags and ids of the images of the releases on the host."
    found = []
    for path in glob.glob(os.path.join(glob.escape(folder), "releases", "*", "release.json")):
        with open(path, encoding="utf-8") as file:
            image = json.load(file)["image"]
        found += [image["tag"], image["id"]]
    return [each for each in found if lines_of(engine, "image", "inspect", "-f", "{{.Id}}", each)]


def remove_files(folder):
    "What says that the service is here goes late, so that a removal that was cut off is gone on with; the lock goes last."
    late = ["state.json", "lock.json.guard", "lock.json"]
    names = set(os.listdir(folder)) - {"journal.jsonl"}
    for name in [*sorted(names - set(late)), *filter(names.__contains__, late)]:
        path = os.path.join(folder, name)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.remove(path)


def remove(want, run):
    "What is gone, in words. Raises `Lost`, `OSError`."
    engine, folder = want["engine"], want["folder"]
    wait_for_end(want["drain"], want["drain_seconds"] + 5)
    images = images_of(engine, folder)
    fence(want["fence"])
    label = "label=mlkit.service=" + want["service"]
    containers = lines_of(engine, "ps", "--all", "--quiet", "--filter", label)
    if containers:
        lines_of(*removal(engine, *containers))
        if left := lines_of(engine, "ps", "--all", "--quiet", "--filter", label):
            raise OSError(f"{engine} could not remove the containers {' '.join(left)}: see its log")
    for image in images:
        lines_of(engine, "image", "rm", image)
    at_boot = remove_from_boot("mlkit-" + want["service"], run)
    forget_at_boot(want["service"], run)
    is_closed = take_away(engine, run)
    fence(want["fence"])
    remove_files(folder)
    publish(want["service"], folder)
    counted = [f"{len(containers)} containers", f"{len(images) // 2} images", "its files"]
    return ["its port", *counted, *(["its start at boot"] if at_boot else []), *(["the closed network"] if is_closed else [])]


def main():
    module = AnsibleModule(
        argument_spec={
            "engine": {"type": "str", "required": True},
            "service": {"type": "str", "required": True},
            "folder": {"type": "path", "required": True},
            "entry": {"type": "dict", "required": True},
            "drain": {"type": "list", "elements": "str", "default": []},
            "drain_seconds": {"type": "int", "default": 30},
            "fence": {"type": "dict", "required": True},
        },
    )
    want = module.params
    try:
        fence(want["fence"])
        entry = append(os.path.join(want["folder"], "journal.jsonl"), want["entry"])
        module.exit_json(changed=True, entry=entry, gone=remove(want, bounded(module.run_command)))
    except (Failed, Lost, OSError, ValueError, KeyError) as error:
        cause = f"{want['service']} was not removed completely: {error}"
        module.fail_json(msg=cause, cause=cause)


if __name__ == "__main__":
    main()
