#!/usr/bin/python
"Put the file of API keys where the containers of a service see it: whole, and readable by them alone."

import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.container_file import is_current, put
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

def main():
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "required": True},
            "text": {"type": "str", "required": True, "no_log": True},
            "fence": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    path, text = os.path.join(module.params["folder"], "keys"), module.params["text"]
    try:
        changed = not is_current(path, text)
        if changed and not module.check_mode:
            fence(module.params["fence"])
            put(path, text)
    except Lost as lost:
        module.fail_json(msg=str(lost), cause=str(lost))
    except OSError as error:
        cause = ("disk full: " if error.errno == 28 else "the API keys could not be written: ") + str(error)
        module.fail_json(msg=cause, cause=cause)
    module.exit_json(changed=changed)


if __name__ == "__main__":
    main()
