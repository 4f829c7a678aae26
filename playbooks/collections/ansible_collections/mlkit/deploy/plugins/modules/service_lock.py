#!/usr/bin/python
"Take, renew, release, break or look at the lock of a service on this host."

import os
import time

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.deploy_lock import Held, Lost, break_lock, look, release, renew, take, wait_for_host
from ..module_utils.full_disk import why_not_written


def main():
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "state": {"choices": ["taken", "renewed", "released", "broken", "free", "shown"], "default": "taken"},
            "owner": {"default": ""},
            "token": {"default": "", "no_log": False},
            "seconds": {"type": "int", "default": 120},
            "why": {"default": ""},
            "environment": {"default": ""},
        },
        required_if=[("state", "taken", ("owner", "token")), ("state", "renewed", ("token",))],
        supports_check_mode=True,
    )
    asked, path = module.params, module.params["path"]
    state = "shown" if module.check_mode else asked["state"]
    changed, was = False, None
    try:
        was = wait_for_host(path) if state in ("taken", "free", "broken") else look(path)
        if state == "taken":
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
            take(path, asked["owner"], asked["token"], asked["seconds"], asked["why"])
            changed = not was
        elif state == "renewed":
            renew(path, asked["token"])
        elif state == "free" and was:
            raise Held(was, time.time())
        elif not os.path.isdir(os.path.dirname(path)):
            pass  # nothing of the service is here, so nobody holds its lock
        elif state == "released":
            own = was and was["owner"] == asked["owner"] != ""
            changed = release(path, asked["token"] or (was["token"] if own else ""))
        elif state == "broken" and was:
            was = break_lock(path)  # who held it at that very moment
            changed = was is not None
    except Held as held:
        module.fail_json(
            msg=str(held),
            cause=f"locked: {held}. Wait, or take it away: {how_to_break(asked['environment'])}",
            owner=held.owner,
            age=held.age,
            expires_in=held.expires_in,
        )
    except Lost as lost:
        module.fail_json(msg=str(lost), cause=str(lost))
    except OSError as error:
        cause = why_not_written(error, os.path.dirname(path), "the lock cannot be written")
        module.fail_json(msg=cause, cause=cause)
    module.exit_json(changed=changed, lock=public(look(path)), was=public(was))


def how_to_break(environment):
    "The command, in the words of whoever deploys."
    if environment:
        return f"mlkit unlock {environment} --break"
    return "ansible-playbook -i INVENTORY playbooks/unlock.yml -e service=NAME -e break=true"


def public(lock):
    return lock and {key: value for key, value in lock.items() if key != "token"}


if __name__ == "__main__":
    main()
