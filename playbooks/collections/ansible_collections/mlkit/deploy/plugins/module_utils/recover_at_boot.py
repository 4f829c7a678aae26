"""At boot a host ends what was pending when it lost power, and asks what it missed: a service of the host runs `recovery`.

There is no Ansible then, so the files that `recovery` imports are copied to the host.
"""

import glob
import os
import re
import shutil
import sys
from importlib import import_module

from . import recovery
from .boot_script import remove_from_boot, run_at_boot, script_places
from .proxy_config import read, write_whole

PROGRAM = "/usr/local/lib/mlkit"
PACKAGE = "ansible.module_utils"  # what they are there: one name for all versions of this script
IMPORT = re.compile(r"^from \.(\w*) import (?:\(\s*)?(\w+)", re.MULTILINE)

# Its name is none that a service's own script can have, and comes after docker's and haproxy's: see closed_network.
SCRIPT = r"""#!/bin/sh
### BEGIN INIT INFO
# Provides:          recover-mlkit-@service@
# Required-Start:    $network $remote_fs
# Required-Stop:
# Should-Start:      docker haproxy
# Default-Start:     2 3 4 5
# Default-Stop:
# Short-Description: End the deployment of @service@ that a power cut interrupted
### END INIT INFO
# Written by mlkit, which deploys @service@.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PYTHONPATH=@program@
recover() { exec '@python@' -m ansible.module_utils.recovery '@folder@' '@service@' '@engine@'; }
case $1 in
  run) recover ;;
  start) recover </dev/null >/dev/null 2>&1 & ;;
  *) echo "usage: $0 start | run" >&2; exit 2 ;;
esac
"""
UNIT = """[Unit]
Description=Ask how the last deployment of @service@ ended
After=network-online.target docker.service haproxy.service
Wants=network-online.target

[Service]
ExecStart=/usr/local/sbin/recover-mlkit-@service@ run

[Install]
WantedBy=multi-user.target
"""


def name_of(service):
    return "recover-mlkit-" + service


def recover_at_boot(service, folder, engine, run):
    "Have the host look at boot for what is pending in a service's folder. `run` is a module's run_command. Raises `OSError`."
    copy_program(recovery)
    words = {
        "service": service,
        "folder": folder,
        "engine": engine,
        "python": sys.executable,
        "program": PROGRAM,
    }
    script, unit = (re.sub("@([a-z]+)@", lambda match: words[match[1]], text) for text in (SCRIPT, UNIT))
    run_at_boot(name_of(service), script, unit, run)


def forget_at_boot(service, run):
    "Remove what `recover_at_boot` has written for a service, and with that of the last one the program."
    remove_from_boot(name_of(service), run)
    if not any(glob.glob(place) for place in script_places(name_of("*"))):
        shutil.rmtree(os.path.join(PROGRAM, "ansible"), ignore_errors=True)
        if os.path.isdir(PROGRAM) and not os.listdir(PROGRAM):  # what renews certificates may be there, too
            os.rmdir(PROGRAM)


def copy_program(module):
    "Copy one of our modules, and what it imports of ours, to the host."
    ours, _, first = module.__name__.rpartition(".")
    folder, done, left = os.path.join(PROGRAM, *PACKAGE.split(".")), set(), {first}
    os.makedirs(folder, mode=0o755, exist_ok=True)
    texts = {os.path.join(PROGRAM, "ansible/__init__.py"): "", os.path.join(folder, "__init__.py"): ""}
    while left:
        done.add(name := left.pop())
        full = f"{ours}.{name}"
        texts[os.path.join(folder, name + ".py")] = text = import_module(full).__loader__.get_source(full)
        left |= {found or imported for found, imported in IMPORT.findall(text)} - done
    for path, text in texts.items():
        if read(path) != text:
            write_whole(path, text)
