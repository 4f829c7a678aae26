"""Take the lock of a service on a host, also from a deployer of this very machine that is dead."""

import os
import re

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

OWNER = re.compile(r"(?P<who>.*) pid (?P<process>\d+)")


def is_dead(owner, who):
    "Whether an owner is a deployer of this user and machine whose process has ended."
    match = OWNER.fullmatch(owner)
    if not match or match["who"] != who:
        return False
    try:
        with open(f"/proc/{match['process']}/cmdline", "rb") as file:
            return b"ansible" not in file.read()
    except OSError:
        return True


class ActionModule(ActionBase):
    _supports_check_mode = False

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        who = self._task.args["who"]
        arguments = {name: value for name, value in self._task.args.items() if name != "who"}
        # A task runs in a process of its own: the deployer is its parent.
        arguments |= {"state": "taken", "owner": f"{who} pid {os.getppid()}"}
        try:
            taken = self._execute_module("service_lock", arguments, task_vars=task_vars)
            if is_dead(taken.get("owner", ""), who):
                freed = {"path": arguments["path"], "state": "released", "owner": taken["owner"]}
                self._execute_module("service_lock", freed, task_vars=task_vars)
                taken = self._execute_module("service_lock", arguments, task_vars=task_vars)
            return taken
        except AnsibleConnectionFailure as error:
            cause = f"host lost: {' '.join(str(error).split())}"
            return {"failed": True, "msg": cause, "cause": cause, "lost": True}
