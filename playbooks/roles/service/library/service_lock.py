#!/usr/bin/python
"Take, keep or give back the lock of a service on a host."

import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.deploy_lock import Held, Lost, guarded, read, release, renew, take

DOCUMENTATION = r"""
module: service_lock
short_description: The lock of a service on a host
options:
  path: {description: The lock's file., type: path, required: true}
  state:
    description: What to do. C(seen) only looks; C(broken) removes anybody's lock.
    type: str
    required: true
    choices: [taken, renewed, released, broken, seen]
  owner: {description: Who takes it., type: str}
  token: {description: What tells this run from others., type: str}
  seconds: {description: How long it is good for without a sign of life., type: int, default: 900}
  why: {description: For others to read., type: str, default: ""}
  gone: {description: An owner that is known to be dead., type: str, default: ""}
author: [The mlkit developers]
"""

EXAMPLES = r"""
- name: Take the lock
  service_lock:
    path: /var/lib/mlkit/flights/lock.json
    state: taken
    owner: ann@laptop pid 4711
    token: 5d41
    why: flights-3-1a2b3c4d5e6f
"""

RETURN = r"""
lock: {description: The lock that is or was there., type: dict, returned: always}
cause: {description: Who has it., type: str, returned: failure}
"""


def main():
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "state": {
                "type": "str",
                "required": True,
                "choices": ["taken", "renewed", "released", "broken", "seen"],
            },
            "owner": {"type": "str"},
            "token": {"type": "str"},
            "seconds": {"type": "int", "default": 900},
            "why": {"type": "str", "default": ""},
            "gone": {"type": "str", "default": ""},
        },
        required_if=[("state", "taken", ["owner", "token"]), ("state", "renewed", ["token"])],
    )
    want = module.params
    path, lock = want["path"], read(want["path"])[0]
    try:
        if want["state"] == "taken":
            take(path, want["owner"], want["token"], want["seconds"], want["why"], want["gone"])
        elif want["state"] == "renewed":
            renew(path, want["token"])
        elif want["state"] == "released":
            release(path, want["token"])
        elif want["state"] == "broken" and lock:
            with guarded(path):
                os.remove(path)
    except (Held, Lost) as error:
        module.fail_json(msg=str(error), cause=str(error), lock={**lock, "token": ""} if lock else {})
    except OSError as error:
        cause = ("disk full: " if error.errno == 28 else "the lock could not be written: ") + str(error)
        module.fail_json(msg=cause, cause=cause)
    shown = {name: value for name, value in (lock or {}).items() if name != "token"}
    module.exit_json(changed=want["state"] in ("taken", "released", "broken"), lock=shown)


if __name__ == "__main__":
    main()
