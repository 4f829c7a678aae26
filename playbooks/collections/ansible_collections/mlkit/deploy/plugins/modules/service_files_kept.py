#!/usr/bin/python
"Put files where the containers of a service see them: each whole, and readable by them alone."

import os
import re

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.container_file import is_current, put
from ..module_utils.deploy_lock import Lost, fence
from ..module_utils.full_disk import why_not_written

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


def main():
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "required": True},
            "files": {"type": "dict", "required": True, "no_log": True},
            "what": {"type": "str", "required": True},
            "fence": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    folder, files, what = (module.params[name] for name in ("folder", "files", "what"))
    if wrong := [name for name, text in files.items() if not NAME.fullmatch(name) or not isinstance(text, str)]:
        cause = f"{what}: {wrong[0]!r} is not a file name with a string, such as DB_PASSWORD"
        module.fail_json(msg=cause, cause=cause)
    try:
        there = os.listdir(folder) if os.path.isdir(folder) else []
        gone = sorted(set(there) - set(files))
        new = [name for name, text in files.items() if not is_current(os.path.join(folder, name), text)]
        if (gone or new) and not module.check_mode:
            fence(module.params["fence"])
            for name in new:
                put(os.path.join(folder, name), files[name])
            for name in gone:
                os.remove(os.path.join(folder, name))
    except Lost as lost:
        module.fail_json(msg=str(lost), cause=str(lost))
    except OSError as error:
        cause = why_not_written(error, folder, f"{what} could not be written")
        module.fail_json(msg=cause, cause=cause)
    module.exit_json(changed=bool(gone or new))


if __name__ == "__main__":
    main()
