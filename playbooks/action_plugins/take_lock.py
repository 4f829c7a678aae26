"""Take the lock of a service on a host, also from a deployer of this very machine that is dead."""

import hashlib
import os
import re

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

OWNER = re.compile(r"(?P<who>.*) pid (?P<process>\d+) \((?P<place>[0-9a-f]{8})-(?P<start>\d+)\)")


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


class ActionModule(ActionBase):
    _supports_check_mode = False

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        who = self._task.args["who"]
        arguments = {name: value for name, value in self._task.args.items() if name != "who"}
        # A task runs in a process of its own: the deployer is its parent.
        arguments |= {"state": "taken", "owner": name_of(who, os.getppid())}
        try:
            taken = self._execute_module("service_lock", arguments, task_vars=task_vars)
            if is_dead(taken.get("owner", ""), who):
                freed = {"path": arguments["path"], "state": "released", "owner": taken["owner"]}
                self._execute_module("service_lock", freed, task_vars=task_vars)
                taken = self._execute_module("service_lock", arguments, task_vars=task_vars)
            if taken.get("failed") and not taken.get("cause"):  # it crashed: see host_step
                said = taken.get("module_stderr") or taken.get("msg") or "no reason was given"
                taken["cause"] = "the lock could not be taken: " + str(said).strip().splitlines()[-1]
            return taken
        except AnsibleConnectionFailure as error:
            cause = f"host lost: {' '.join(str(error).split())}"
            return {"failed": True, "msg": cause, "cause": cause, "lost": True}
