"""Fail where somebody has the lock of a service on a host, and take no lock.

As for a deployment, the lock of a deployer of this very machine that is dead keeps nobody out.
"""

from .begin_deployment import ActionModule as BeginDeployment


class ActionModule(BeginDeployment):
    def run(self, tmp=None, task_vars=None):
        arguments = dict(self._task.args)
        who = arguments.pop("deployer")
        result = self.on_host("mlkit.deploy.service_lock", {**arguments, "state": "free"}, task_vars)
        if not result.get("failed") or self.is_dead(result.get("owner", ""), who):
            return {"changed": False}
        return {**result, "msg": result["cause"]}
