"A script that a host runs when it boots, under systemd or Debian's sysvinit."

import os
import shutil

from ansible.module_utils.proxy_config import read, write_whole


def script_places(name):
    "Where the script may be, under systemd and under sysvinit."
    return f"/usr/local/sbin/{name}", f"/etc/init.d/{name}"


def run_at_boot(name, script, unit, run):
    """Where the script is, and whether it was another. `unit` is for systemd.

    `run` is a module's run_command. Raises `OSError`.
    """
    systemd, sysvinit = script_places(name)
    if os.path.isdir("/run/systemd/system"):
        path = systemd
        files = [(path, script, 0o755), (f"/etc/systemd/system/{name}.service", unit, 0o644)]
        enable = ["systemctl", "enable", name + ".service"]
    elif shutil.which("update-rc.d"):
        path = sysvinit
        files = [(path, script, 0o755)]
        enable = ["update-rc.d", name, "defaults"]
    else:
        raise OSError("that needs a host which systemd or Debian's sysvinit runs")
    changed = [_write(*file) for file in files]
    code, out, err = run(enable)
    if code:
        raise OSError((err or out).strip())
    return path, any(changed)


def _write(path, text, mode):
    "Whether the file was another."
    if read(path) == text:
        return False
    write_whole(path, text, mode)
    return True
