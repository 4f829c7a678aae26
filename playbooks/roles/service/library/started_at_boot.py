#!/usr/bin/python
"Have the live containers of a podman host started when it boots."

import errno
import os
import shutil

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: started_at_boot
short_description: Have what is live started at boot
description:
  - podman has no daemon that would start containers again. At boot, a service of the host, C(mlkit), starts those that the
    proxy sends requests to, and no others.
  - It is a unit of systemd, or a script of sysvinit where that runs the host.
author: [The mlkit developers]
"""

EXAMPLES = r"""
- name: Have what is live start at boot
  started_at_boot:
"""

RETURN = r"""
cause: {description: Why it cannot be., type: str, returned: failure}
"""

SCRIPT = r"""#!/bin/sh
### BEGIN INIT INFO
# Provides:          mlkit
# Required-Start:    $network $remote_fs
# Required-Stop:
# Default-Start:     2 3 4 5
# Default-Stop:
# Short-Description: Start the containers that the proxy sends requests to
### END INIT INFO
# Written by mlkit, which deploys them: podman by itself would start none of them at boot.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
[ "$1" = start ] || { echo "usage: $0 start" >&2; exit 2; }
failed=0
for route in /etc/haproxy/mlkit.d/*.cfg; do
  [ -e "$route" ] || continue   # nothing is live
  colour=$(sed -nE 's/^ +server (blue|green) .*/\1/p' "$route" | head -n 1)   # the first is the live one
  podman start "mlkit-$(basename "$route" .cfg)-$colour" || failed=1
done
# The bridge keeps this address, whichever containers begin and end: netavark before 1.9 lets it change, and then
# the answers of the others get lost for a while.
bridge=$(podman network inspect podman | sed -nE 's/.*"network_interface": "([^"]+)".*/\1/p')
if [ -e "/sys/class/net/$bridge/address" ]; then
  ip link set dev "$bridge" address "$(cat "/sys/class/net/$bridge/address")" || failed=1
fi
exit $failed
"""
UNIT = """[Unit]
Description=Start the containers that the proxy sends requests to
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
ExecStart=/usr/local/sbin/mlkit-live start

[Install]
WantedBy=multi-user.target
"""


def write(path, text, mode):
    "Whether the file was another."
    try:
        with open(path, encoding="utf-8") as file:
            if file.read() == text:
                return False
    except FileNotFoundError:
        pass
    with open(path + ".unfinished", "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(path + ".unfinished", mode)
    os.rename(path + ".unfinished", path)
    return True


def main():
    module = AnsibleModule(argument_spec={})
    if os.path.isdir("/run/systemd/system"):
        files = [("/usr/local/sbin/mlkit-live", SCRIPT, 0o755), ("/etc/systemd/system/mlkit.service", UNIT, 0o644)]
        enable = ["systemctl", "enable", "mlkit.service"]
    elif shutil.which("update-rc.d"):
        files = [("/etc/init.d/mlkit", SCRIPT, 0o755)]
        enable = ["update-rc.d", "mlkit", "defaults"]
    else:
        cause = "nothing would be started at boot here: podman needs a host that systemd or Debian's sysvinit runs"
        module.fail_json(msg=cause, cause=cause)
    try:
        changed = [write(*file) for file in files]
    except OSError as error:
        cause = ("disk full: " if error.errno == errno.ENOSPC else "the service for the boot could not be written: ")
        module.fail_json(msg=cause + str(error), cause=cause + str(error))
    code, out, err = module.run_command(enable)
    if code:
        cause = f"the service for the boot could not be enabled: {(err or out).strip()}"
        module.fail_json(msg=cause, cause=cause)
    module.exit_json(changed=any(changed))


if __name__ == "__main__":
    main()
