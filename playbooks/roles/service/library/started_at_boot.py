#!/usr/bin/python
"Have the recorded container of a service started when a podman host boots."

import errno

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.boot_script import run_at_boot

DOCUMENTATION = r"""
module: started_at_boot
short_description: Have the recorded container of a service started at boot
description:
  - podman has no daemon that would start containers again. At boot, a service of the host, C(mlkit-NAME), starts the container
    that the state names, and no other.
  - It is a unit of systemd, or a script of sysvinit where that runs the host.
options:
  service: {description: Name of the service., type: str, required: true}
  folder: {description: The folder of the service., type: path, required: true}
author: [The mlkit developers]
"""

EXAMPLES = r"""
- name: Have the recorded container started at boot
  started_at_boot:
    service: flights
    folder: /var/lib/mlkit/flights
"""

RETURN = r"""
cause: {description: Why it cannot be., type: str, returned: failure}
"""

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


def main():
    module = AnsibleModule(
        argument_spec={
            "service": {"type": "str", "required": True},
            "folder": {"type": "path", "required": True},
        }
    )
    name, script, unit = (filled(text, module.params) for text in ("mlkit-@service@", SCRIPT, UNIT))
    try:
        _, changed = run_at_boot(name, script, unit, module.run_command)
    except OSError as error:
        cause = "disk full: " if error.errno == errno.ENOSPC else ""
        cause += f"the release would not be started at boot here: {error}"
        module.fail_json(msg=cause, cause=cause)
    module.exit_json(changed=changed)


def filled(text, names):
    return text.replace("@service@", names["service"]).replace("@folder@", names["folder"])


if __name__ == "__main__":
    main()
