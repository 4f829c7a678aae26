#!/usr/bin/python
"Add a line to a service's journal, or read and verify it."

import json
import time

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.journal_chain import append, read, verify


def main():
    module = AnsibleModule(
        argument_spec={"path": {"type": "path", "required": True}, "entry": {"type": "dict"}},
        supports_check_mode=True,
    )
    path, entry = module.params["path"], module.params["entry"]
    try:
        if entry is None:
            lines = read(path)
            module.exit_json(changed=False, entries=[parsed(line) for line in lines], problems=verify(lines))
        entry.setdefault("when", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        if module.check_mode:
            module.exit_json(changed=True, entry=entry)
        module.exit_json(changed=True, entry=append(path, entry))
    except OSError as error:
        cause = f"journal not written: {error}" if entry else f"journal not read: {error}"
        module.fail_json(msg=cause, cause=cause)


def parsed(line):
    try:
        return json.loads(line)
    except ValueError:
        return {"unreadable": line.encode("utf-8", "replace").decode("utf-8")}


if __name__ == "__main__":
    main()
