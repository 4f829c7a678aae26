"""Check what was asked of a playbook, before any host is touched: the settings, and the release or the service.

Nothing here talks to a host: what is wrong on the command line or in the inventory is said before anything runs.
"""

from pathlib import Path

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase

from ..filter.container import container_options
from ..filter.mlkit import batch_mistake, read_release, service_name

ROLES = Path(__file__).parents[2] / "roles"
SPECS = {"engine": "main", "observe": "main", "proxy": "present", "service": "look"}  # role → the entry with its settings


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        given = self._task.args

        def setting(name, default=""):
            return self._templar.template(task_vars[name]) if name in task_vars else default

        release = read_release(given["release"]) if "release" in given else {}
        service = service_name(given["service"]) if "service" in given else {}
        refused = [*contradictions(setting), release.get("refused"), service.get("refused")]
        for role, entry in SPECS.items():
            specs = self._loader.load_from_file(str(ROLES / role / "meta/argument_specs.yml"))
            refused += mistakes(specs["argument_specs"][entry]["options"], setting, task_vars)
        if words := "\n".join(filter(None, refused)):
            return {"failed": True, "msg": words}
        return {"changed": False, "release": release, "service": service.get("name") or release.get("name", "")}


def contradictions(setting):
    "Settings that cannot be together, or cannot be what they are."
    if setting("proxy_acme_directory") and setting("proxy_tls_certificate"):
        yield "proxy_tls_certificate and proxy_acme_directory are both set, and a service has one certificate: take one of them away"
    elif setting("proxy_acme_directory") and not setting("proxy_acme_names"):
        yield 'proxy_acme_directory is set, and no name for the certificate: for example proxy_acme_names=["flights.example.com"]'
    container = setting("service_env", {}), setting("service_volumes", []), setting("service_cpus", 0)
    yield container_options(*container).get("refused")
    yield batch_mistake(setting("deploy_batch", 1), setting("deploy_pause", 0))


def mistakes(options, setting, task_vars):
    "What is wrong with the settings of a role."
    values = {name: setting(name) for name in options if name in task_vars}
    optional = {name: {**option, "required": False} for name, option in options.items()}
    return ArgumentSpecValidator(optional).validate(values).error_messages
