"A script that a host runs when it boots, under systemd or Debian's sysvinit."

import glob
import os
import shutil

from .proxy_config import read, write_whole


def script_places(name):
    "Where the script may be, under systemd and under sysvinit."
    return f"/usr/local/sbin/{name}", f"/etc/init.d/{name}"


def unit_place(name):
    return f"/etc/systemd/system/{name}.service"


def run_at_boot(name, script, unit, run):
    """Where the script is. `unit` is for systemd.

    `run` is a module's run_command. Raises `OSError`.
    """
    systemd, sysvinit = script_places(name)
    if os.path.isdir("/run/systemd/system"):
        path = systemd
        files = [(path, script, 0o755), (unit_place(name), unit, 0o644)]
        enable = ["systemctl", "enable", name + ".service"]
        enabled = f"/etc/systemd/system/multi-user.target.wants/{name}.service"
    elif shutil.which("update-rc.d"):
        path = sysvinit
        files = [(path, script, 0o755)]
        enable = ["update-rc.d", name, "defaults"]
        enabled = f"/etc/rc2.d/S[0-9][0-9]{name}"
    else:
        raise OSError("that needs a host which systemd or Debian's sysvinit runs")
    changed = [each for each in files if read(each[0]) != each[1]]
    for place, text, mode in changed:
        write_whole(place, text, mode)
    if changed or not glob.glob(enabled):
        code, out, err = run(enable)
        if code:
            raise OSError((err or out).strip())
    return path


def remove_from_boot(name, run):
    "Remove what `run_at_boot` has written; whether there was any."
    unit, (_, sysvinit) = unit_place(name), script_places(name)
    if os.path.exists(unit):
        run(["systemctl", "disable", name + ".service"])
    files = [path for path in (unit, *script_places(name)) if os.path.exists(path)]
    for path in files:
        os.remove(path)
    if sysvinit in files:
        run(["update-rc.d", name, "remove"])
    return bool(files)
