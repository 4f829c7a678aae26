"""podman has no daemon that would start containers again. At boot, a service of the host, `mlkit-NAME`, starts the container that the
state names, and no other: a unit of systemd, or a script of sysvinit where that runs the host.
"""

import os
import shutil

from ansible.module_utils.proxy_config import read, write_whole
from ansible.module_utils.stroke import Failed

SCRIPT = r"""#!/bin/sh
### BEGIN INIT INFO
# Provides:          mlkit-@service@
# Required-Start:    $network $remote_fs
# Required-Stop:
# Default-Start:     2 3 4 5
# Default-Stop:
# Short-Description: Start the live container of @service@
### END INIT INFO
# Written by mlkit, which deploys it: podman by itself would start none at boot.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
[ "$1" = start ] || { echo "usage: $0 start" >&2; exit 2; }
[ -e '@folder@/state.json' ] || exit 0   # nothing was ever recorded
colour=$(sed -nE 's/^ *"colour": "(blue|green)".*/\1/p' '@folder@/state.json')
podman start "mlkit-@service@-$colour" || exit 1
# The bridge keeps this address, whichever containers begin and end: netavark before 1.9 lets it change, and then
# the answers of the others get lost for a while.
bridge=$(podman network inspect podman | sed -nE 's/.*"network_interface": "([^"]+)".*/\1/p')
[ ! -e "/sys/class/net/$bridge/address" ] || ip link set dev "$bridge" address "$(cat "/sys/class/net/$bridge/address")"
"""
UNIT = """[Unit]
Description=Start the live container of @service@
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
ExecStart=/usr/local/sbin/mlkit-@service@ start

[Install]
WantedBy=multi-user.target
"""


def write(path, text, mode):
    "Whether the file was another."
    if read(path) == text:
        return False
    write_whole(path, text, mode)
    return True


def start_at_boot(service, folder, run):
    "Have the recorded container of a service, whose state is in `folder`, started at boot. Raises `Failed`, `OSError`."
    name, names = "mlkit-" + service, {"service": service, "folder": folder}
    if os.path.isdir("/run/systemd/system"):
        files = [
            (f"/usr/local/sbin/{name}", SCRIPT, 0o755),
            (f"/etc/systemd/system/{name}.service", UNIT, 0o644),
        ]
        enable = ["systemctl", "enable", name + ".service"]
    elif shutil.which("update-rc.d"):
        files = [(f"/etc/init.d/{name}", SCRIPT, 0o755)]
        enable = ["update-rc.d", name, "defaults"]
    else:
        raise Failed(
            "the release would not be started at boot here: podman needs a host that systemd or Debian's sysvinit runs"
        )
    for path, text, mode in files:
        write(path, filled(text, names), mode)
    code, out, err = run(enable)
    if code:
        raise Failed("the release would not be started at boot here: " + (err or out).strip())


def filled(text, names):
    return text.replace("@service@", names["service"]).replace("@folder@", names["folder"])
