"""Run a module on a host so that losing the host is a failure like any other.

Ansible takes a host that it cannot reach out of the play, and neither `rescue` nor a later play runs for it: a
deployment that loses a host in the middle could then not take back what it did on the others. Here the loss is a
failed step with a cause, and the next steps decide. One that was lost when it was to record the deployment for all
(`service_committed`) is tried no more: each try costs the time that a connection may take.

Once the first host has recorded the deployment nothing is taken back. Whatever keeps another from recording it, be it that it is lost, its engine
or its disk, it ends the deployment by itself: it counts like a host that cannot be reached, with the exit code 4, and not as a failed deployment.
"""

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        stroke, is_decided = arguments.get("stroke"), arguments.pop("is_decided", False)
        if (task_vars.get("service_committed") or {}).get("lost") and stroke != "commit":
            return self.lost("it did not come back")
        result = self.on_host(arguments.pop("module"), arguments, task_vars)
        if stroke == "commit" and result.get("crashed"):  # nobody knows whether it has recorded it: it is asked again
            return {**result, "lost": True}
        if stroke == "keep" and result.get("cause") and result.get("ends_by_itself", is_decided):
            return not_yet(result)
        return result

    def on_host(self, module, arguments, task_vars):
        "What a module returns; one that fails has a cause, and says whether the host was lost."
        try:
            return with_cause(self._execute_module(module, arguments, task_vars=task_vars))
        except AnsibleConnectionFailure as error:
            return self.lost(error)

    def lost(self, why):
        return {**self.failed(f"host lost: {' '.join(str(why).split())}"), "lost": True}

    def failed(self, cause):
        return {"failed": True, "msg": str(cause), "cause": str(cause)}


def not_yet(result):
    "What is returned of a host that has not ended a deployment which is recorded for all: it does so without its deployer."
    why = result.pop("cause")
    if result.pop("lost", False):
        return {**result, "failed": False, "unreachable": True, "msg": f"{why}. It records the release by itself when it is back"}
    words = f"{why}. Nothing is taken back: the host ends the deployment by itself, and mlkit status says when it has"
    return {**result, "failed": False, "unreachable": True, "ends_by_itself": True, "msg": words}


def with_cause(result):
    """A module that crashes on the host names no cause, and the next steps go by the cause: without one, it would look as if
    all had gone well.
    """
    if result.get("failed") and not result.get("cause"):
        said = result.get("module_stderr") or result.get("msg") or result.get("module_stdout") or "no reason was given"
        result |= {"cause": "a step crashed on the host: " + str(said).strip().splitlines()[-1], "crashed": True}
    return result
