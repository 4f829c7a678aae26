"""podman has no daemon that would start containers again. At boot, a service of the host, `mlkit-NAME`, starts the container that the
state names, and no other: a unit of systemd, or a script of sysvinit where that runs the host.
"""

import errno

from .boot_script import run_at_boot
from .failed import Failed

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
# A bridge keeps this address, whichever containers begin and end: netavark before 1.9 lets it change, and then
# the answers of the others get lost for a while.
for network in podman mlkit-closed; do
  bridge=$(podman network inspect $network 2>/dev/null | sed -nE 's/.*"network_interface": "([^"]+)".*/\1/p')
  [ ! -e "/sys/class/net/$bridge/address" ] || ip link set dev "$bridge" address "$(cat "/sys/class/net/$bridge/address")"
done
"""
UNIT = """[Unit]
Description=Start the live container of @service@
Wants=network-online.target
After=network-online.target closed-mlkit-network.service

[Service]
Type=oneshot
ExecStart=/usr/local/sbin/mlkit-@service@ start

[Install]
WantedBy=multi-user.target
"""


def start_at_boot(service, folder, run):
    "Have the recorded container of a service, whose state is in `folder`, started at boot. Raises `Failed`."
    script, unit = (text.replace("@service@", service).replace("@folder@", folder) for text in (SCRIPT, UNIT))
    try:
        run_at_boot("mlkit-" + service, script, unit, run)
    except OSError as error:
        kind = "disk full: " if error.errno == errno.ENOSPC else ""
        raise Failed(f"{kind}the release would not be started at boot here: {error}") from error
