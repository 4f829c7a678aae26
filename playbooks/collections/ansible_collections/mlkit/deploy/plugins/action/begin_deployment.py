"""Run the first stroke of a deployment on a host: its lock is taken also from a deployer of this very machine that is dead.

A host that is down drops out here: Ansible reports it, the exit code is 4, and the next run brings it up to date.

What the next strokes need is returned with what the host says: the deployment's token, its hosts, when it began, how others reach this
one (peer), and the image in the release's archive.
"""

import hashlib
import json
import os
import re
import secrets
import tarfile
import time

from ansible.errors import AnsibleConnectionFailure

from .host_step import ActionModule as HostStep

OWNER = re.compile(r"(?P<who>.*) pid (?P<process>\d+) \((?P<place>[0-9a-f]{8})-(?P<start>\d+)\)")
PATIENCE = 10  # seconds: of two deployers that start at once, the one that did not get the first host gives the others back in this time


def place():
    """Which processes this one can see: two deployers of one user@host may run in two containers, or on a machine and its
    clone, and have the same number.
    """
    seen = [os.readlink("/proc/self/ns/pid")]
    for path in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id"):
        try:
            with open(path, encoding="ascii") as file:
                seen.append(file.read().strip())
        except OSError:
            seen.append("")
    return hashlib.sha256("\n".join(seen).encode()).hexdigest()[:8]


def start_of(process):
    "When a process began, in ticks since the boot: a number is given again. Empty where there is none."
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def name_of(who, process):
    "The owner of a lock, as the host and whoever waits for it see it."
    return f"{who} pid {process} ({place()}-{start_of(process)})"


def is_dead(owner, who):
    "Whether an owner is a deployer of this user and this very machine whose process has ended."
    match = OWNER.fullmatch(owner)
    if not match or match["who"] != who or match["place"] != place():
        return False
    return start_of(match["process"]) != match["start"]


def image_in(release):
    "What image_layers needs of the image in a release's archive, and the name of each layer's file. Raises `ValueError`."
    try:
        with tarfile.open(release["archive"]) as archive:
            manifest = json.load(archive.extractfile("manifest.json"))[0]
            config = archive.extractfile(manifest["Config"]).read().decode()
            layers = json.loads(config)["rootfs"]["diff_ids"]
            if len(layers) != len(manifest["Layers"]):
                raise ValueError("its manifest and its config name different layers")
            files = dict(zip(layers, manifest["Layers"], strict=True))
            sizes = {layer: archive.getmember(name).size for layer, name in files.items()}
    except (tarfile.TarError, KeyError, ValueError) as error:
        raise ValueError(
            f"image could not be loaded: {release['archive']} is not an image archive: {error}"
        ) from error
    return {"config": config, "layers": layers, "sizes": sizes}, files


class ActionModule(HostStep):
    is_dead = staticmethod(is_dead)

    def run(self, tmp=None, task_vars=None):
        arguments = dict(self._task.args)
        release, who = arguments.pop("release"), arguments["lock"]["owner"]
        hosts = list(task_vars["ansible_play_hosts"])
        begun = task_vars.get("service_begun") or {}  # asked again, once the host was equipped
        token = task_vars.get("deploy_token") or begun.get("token") or secrets.token_hex(16)
        told = {"token": token, "hosts": hosts, "peer": arguments.pop("peer"), "began": begun.get("began") or int(time.time())}
        try:
            self._low_level_execute_command("true", sudoable=False)
        except AnsibleConnectionFailure as error:  # it was down before anything began: the others go on without it
            return told | {"unreachable": True, "msg": str(error)}
        try:
            image, files = image_in(release) if release else ({}, {})
        except ValueError as error:
            return told | self.failed(error)
        arguments |= {"texts": release["texts"] if release else {}, "image": image}
        # A task runs in a process of its own: the deployer is its parent.
        arguments["lock"] = {**arguments["lock"], "owner": name_of(who, os.getppid()), "token": token}
        arguments["patience"] = 0 if task_vars["inventory_hostname"] == hosts[0] else PATIENCE
        arguments["stroke"] = "begin"
        result = self.on_host("mlkit.deploy.deployment_stroke", arguments, task_vars)
        if self.is_dead(result.get("owner", ""), who):
            result = self.on_host("mlkit.deploy.deployment_stroke", {**arguments, "dead": result["owner"]}, task_vars)
        return result | told if result.get("failed") else result | told | {"image": image, "files": files}
