#!/usr/bin/python
"Put the file of API keys where the containers of a service see it: whole, and readable by them alone."

import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.deploy_lock import Lost, fence

DOCUMENTATION = r"""
module: service_keys_kept
short_description: Put a service's file of API keys on the host
description:
  - Writes C(keys) in the folder, by rename. Running containers see a changed file within a second, without a restart.
options:
  folder: {description: The folder that is mounted into the containers., type: path, required: true}
  text: {description: Lines as `mlkit key new` makes them., type: str, required: true}
  fence: {description: The lock under which it is done; see deploy_lock., type: dict, default: {}}
author: [The mlkit developers]
"""

EXAMPLES = r"""
- name: Put the API keys on the host
  service_keys_kept:
    folder: /var/lib/mlkit/flights/keys
    text: "{{ lookup('file', 'keys', rstrip=false) }}"
"""

RETURN = r"""
cause: {description: Why they could not be written., type: str, returned: failure}
"""

CONTAINER = 10001  # uid and gid of the server in its container


def is_current(path, text):
    try:
        with open(path, encoding="utf-8", newline="") as file:
            found = os.fstat(file.fileno())
            return (found.st_uid, found.st_mode & 0o777, file.read()) == (CONTAINER, 0o400, text)
    except FileNotFoundError:
        return False


def write(folder, path, text):
    os.makedirs(folder, mode=0o755, exist_ok=True)
    unfinished = path + ".unfinished"
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o400), "w", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.chown(unfinished, CONTAINER, CONTAINER)
    os.rename(unfinished, path)


def main():
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "required": True},
            "text": {"type": "str", "required": True, "no_log": True},
            "fence": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    folder, text = module.params["folder"], module.params["text"]
    path = os.path.join(folder, "keys")
    try:
        changed = not is_current(path, text)
        if changed and not module.check_mode:
            fence(module.params["fence"])
            write(folder, path, text)
    except Lost as lost:
        module.fail_json(msg=str(lost), cause=str(lost))
    except OSError as error:
        cause = ("disk full: " if error.errno == 28 else "the API keys could not be written: ") + str(error)
        module.fail_json(msg=cause, cause=cause)
    module.exit_json(changed=changed)


if __name__ == "__main__":
    main()
