#!/usr/bin/python
"The end of a service on a host: its containers, images and files go, its journal stays."

import glob
import json
import os
import shutil
import subprocess

from ansible.module_utils.basic import AnsibleModule
from ..module_utils.boot_script import remove_from_boot
from ..module_utils.closed_network import take_away
from ..module_utils.container_engine import bounded, complete, removal
from ..module_utils.deploy_lock import Lost, fence
from ..module_utils.failed import Failed
from ..module_utils.journal_chain import append
from ..module_utils.pending import publish
from ..module_utils.proxy_state import wait_for_end
from ..module_utils.recover_at_boot import forget_at_boot

from ..module_utils.boot_script import remove_from_boot
from ..module_utils.closed_network import take_away
from ..module_utils.container_engine import removal
from ..module_utils.deploy_lock import Lost, fence
from ..module_utils.journal_chain import append
from ..module_utils.pending import publish
from ..module_utils.proxy_state import wait_for_end
from ..module_utils.recover_at_boot import forget_at_boot


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
