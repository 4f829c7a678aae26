"""A stroke of a deployment: one program on the host, which says what it did, or in one sentence why it did not.

    run_stroke(stroke, options)     run `stroke(step)` as an Ansible module; what it gives is what the module returns
    Step                            what a stroke is given: what was asked, the gates so far, and the lock to ask for
"""

from ansible.module_utils.basic import AnsibleModule
from .container_engine import bounded
from .deploy_lock import Held, Lost, fence
from .failed import Failed
from .full_disk import why_not_written
from .proxy_config import Refused


class Step:
    "What a stroke is given."

    def __init__(self, module):
        self.want, self.run, self.check_mode = module.params, bounded(module.run_command), module.check_mode
        self.gates = []  # what was measured, for the journal, also when the stroke fails

    def fence(self):
        "Whether this deployment may change something now. Raises `Lost`."
        fence(self.want["fence"])


def run_stroke(stroke, options, check_mode=False, needs=None):
    """Run a stroke with these options of a module, and end the process.

    `check_mode`: whether it is run in check mode, too. Of a module with several strokes, the names of those that are; and in `needs`, by
    stroke, the options that it must be given.
    """
    required = [("stroke", name, options) for name, options in (needs or {}).items()]
    module = AnsibleModule(argument_spec=options, supports_check_mode=bool(check_mode), required_if=required)
    step = Step(module)
    if needs and module.check_mode and module.params["stroke"] not in check_mode:
        module.exit_json(skipped=True, changed=False, msg="not done in check mode")
    try:
        module.exit_json(**{"changed": True, **stroke(step), "gates": step.gates})
    except Failed as failed:
        module.fail_json(msg=str(failed), cause=str(failed), gates=step.gates, **failed.more)
    except (Held, Lost, Refused) as refused:
        module.fail_json(msg=str(refused), cause=str(refused), gates=step.gates)
    except OSError as error:
        place = module.params.get("folder") or module.params.get("home") or "/"
        cause = why_not_written(error, place, "the host could not do it")
        module.fail_json(msg=cause, cause=cause, gates=step.gates)
