#!/usr/bin/python
"Put secrets where the containers of a service see them: a file each, readable by them alone."

import os
import re

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.container_file import is_current, put
from ansible.module_utils.deploy_lock import Lost, fence

DOCUMENTATION = r"""
module: service_secrets_kept
short_description: Put a service's secrets on the host
description:
  - Writes a file for each, by rename, and removes those that are no longer named. Running containers see the change within a
    second, without a restart.
options:
  folder: {description: The folder that is mounted into the containers., type: path, required: true}
  secrets: {description: Text by file name., type: dict, required: true}
  fence: {description: The lock under which it is done; see deploy_lock., type: dict, default: {}}
author: [The mlkit developers]
"""

EXAMPLES = r"""
- name: Put the secrets on the host
  service_secrets_kept:
    folder: /var/lib/mlkit/flights/secrets
    secrets: {DB_PASSWORD: "{{ vault_db_password }}"}
"""

RETURN = r"""
cause: {description: Why they could not be written; names no value., type: str, returned: failure}
"""

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


def main():
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "required": True},
            "secrets": {"type": "dict", "required": True, "no_log": True},
            "fence": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    folder, secrets = module.params["folder"], module.params["secrets"]
    if wrong := [name for name, text in secrets.items() if not NAME.fullmatch(name) or not isinstance(text, str)]:
        cause = f"service_secrets: {wrong[0]!r} is not a file name with a text, such as DB_PASSWORD"
        module.fail_json(msg=cause, cause=cause)
    try:
        there = os.listdir(folder) if os.path.isdir(folder) else []
        gone = sorted(set(there) - set(secrets))
        new = [name for name, text in secrets.items() if not is_current(os.path.join(folder, name), text)]
        if (gone or new) and not module.check_mode:
            fence(module.params["fence"])
            for name in new:
                put(os.path.join(folder, name), secrets[name])
            for name in gone:
                os.remove(os.path.join(folder, name))
    except Lost as lost:
        module.fail_json(msg=str(lost), cause=str(lost))
    except OSError as error:
        cause = ("disk full: " if error.errno == 28 else "the secrets could not be written: ") + str(error)
        module.fail_json(msg=cause, cause=cause)
    module.exit_json(changed=bool(gone or new))


if __name__ == "__main__":
    main()
