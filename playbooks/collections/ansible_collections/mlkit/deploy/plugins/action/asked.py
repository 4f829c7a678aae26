"""Check what was asked of a playbook, before any host is touched: the settings, and the release or the service.

    asked:
      refuse: sentences on why it cannot be done; empty ones do not count
      specs: by role, the entry of its meta/argument_specs.yml whose settings are checked
      release: what the filter read_release gives   } returned as they are, `service` as its name
      service: what the filter service_name gives   }
"""

from pathlib import Path

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        given = self._task.args
        release, service = given.get("release") or {}, given.get("service") or {}
        refused = [*given.get("refuse", []), release.get("refused"), service.get("refused")]
        refused += [
            message for role, entry in given["specs"].items() for message in self.mistakes(role, entry, task_vars)
        ]
        if words := "\n".join(filter(None, refused)):
            return {"failed": True, "msg": words}
        return {"changed": False, "release": release, "service": service.get("name") or release.get("name", "")}

    def mistakes(self, role, entry, task_vars):
        "What is wrong with the settings of a role."
        path = Path(task_vars["playbook_dir"], "roles", role, "meta/argument_specs.yml")
        options = self._loader.load_from_file(str(path))["argument_specs"][entry]["options"]
        values = {
            name: self._templar.template(task_vars[name]) for name in options if name in task_vars
        }
        optional = {name: {**option, "required": False} for name, option in options.items()}
        return ArgumentSpecValidator(optional).validate(values).error_messages
