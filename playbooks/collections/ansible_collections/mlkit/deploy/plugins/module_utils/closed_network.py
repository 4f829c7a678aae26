"""The network of containers that may answer and not ask.

It is a bridge of their own and one rule: what begins in a container there is dropped, whether it is for this host, for another,
or for the address where a cloud gives out its credentials. The answers on what came in pass, so the host's proxy notices
nothing. The rule stands before the kernel decides where a packet goes, in a table that neither docker nor podman touches,
and is put there at boot before a container starts.
"""

import json
import os

from .boot_script import remove_from_boot, run_at_boot, script_places

NAME = "mlkit-closed"
# What the engine itself can do for it: containers do not see one another, and nothing that leaves gets the host's address.
OPTIONS = {
    "docker": [
        "--opt=com.docker.network.bridge.name=" + NAME,
        "--opt=com.docker.network.bridge.enable_icc=false",
        "--opt=com.docker.network.bridge.enable_ip_masquerade=false",
    ],
    "podman": ["--disable-dns", "--opt=isolate=true"],
}
# Its name comes before docker's and the services': where nothing else orders the scripts of sysvinit, the alphabet does.
SCRIPT_NAME = "closed-mlkit-network"
SCRIPT = r"""#!/bin/sh
### BEGIN INIT INFO
# Provides:          closed-mlkit-network
# Required-Start:    $local_fs
# Required-Stop:
# X-Start-Before:    docker haproxy
# Default-Start:     2 3 4 5
# Default-Stop:
# Short-Description: Let containers in mlkit's closed network answer and not ask
### END INIT INFO
# Written by mlkit, for services with service_network=closed.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

with_nft() {
  case $1 in
    check) nft list table inet mlkit_closed 2>/dev/null | grep -q 'iifname "@bridge@" .*drop' ;;
    stop) nft delete table inet mlkit_closed 2>/dev/null || : ;;
    start) nft -f - <<END
table inet mlkit_closed
delete table inet mlkit_closed
table inet mlkit_closed {
  chain begun {
    type filter hook prerouting priority -150;
    iifname "@bridge@" ct state != { established, related } drop
  }
}
END
  esac
}

with_iptables() {
  rule="PREROUTING -i @bridge@ -m conntrack ! --ctstate ESTABLISHED,RELATED -j DROP"
  protocols=iptables
  [ ! -e /proc/net/if_inet6 ] || protocols="iptables ip6tables"
  for iptables in $protocols; do
    # shellcheck disable=SC2086  # the rule is words
    if [ "$1" = stop ]; then "$iptables" -w 10 -t mangle -D $rule 2>/dev/null; continue; fi
    # shellcheck disable=SC2086
    "$iptables" -w 10 -t mangle -C $rule 2>/dev/null && continue
    # shellcheck disable=SC2086
    [ "$1" = start ] && "$iptables" -w 10 -t mangle -I $rule || return 1
  done
}

case $1 in
  start | check | stop) ;;
  *) echo "usage: $0 start | check | stop" >&2; exit 2 ;;
esac
if command -v nft >/dev/null; then with_nft "$1"; else with_iptables "$1"; fi
"""
# After what else puts rules in place at boot, and with docker whenever it starts.
UNIT = """[Unit]
Description=Let containers in mlkit's closed network answer and not ask
After=netfilter-persistent.service nftables.service firewalld.service ufw.service
Before=docker.service haproxy.service

[Service]
Type=oneshot
ExecStart=/usr/local/sbin/closed-mlkit-network start

[Install]
WantedBy=multi-user.target docker.service
"""


def close(engine, run):
    "Make the network where it is missing, and put its rule in place. `run` is a module's run_command. Raises `OSError`."
    bridge = _bridge(engine, run)
    if not bridge:
        code, out, err = run([engine, "network", "create", *OPTIONS[engine], NAME])
        bridge = _bridge(engine, run)  # another service's deployment may have made it meanwhile
        if not bridge:
            raise OSError((err or out).strip() or f"exit code {code}")
    script = run_at_boot(SCRIPT_NAME, SCRIPT.replace("@bridge@", bridge), UNIT, run)
    code, out, err = run([script, "start"])
    if code:
        raise OSError((err or out).strip() or f"{script} ended with exit code {code}")


def take_away(engine, run):
    "Remove the network and its rule where no container is in it; whether they were there, and are gone. `run` is a module's run_command."
    bridge = _bridge(engine, run)
    if not bridge or run([engine, "ps", "--all", "--quiet", "--filter", "network=" + NAME])[1].strip():
        return False
    if run([engine, "network", "rm", NAME])[0]:  # a container has come since
        return False
    run(["sh", "-s", "stop"], data=SCRIPT.replace("@bridge@", bridge))
    return remove_from_boot(SCRIPT_NAME, run)


def complaints(run):
    "What is wrong with the rule on this host, none or one sentence. `run` is a module's run_command."
    script = next((path for path in script_places(SCRIPT_NAME) if os.path.exists(path)), None)
    if script and run([script, "check"])[0] == 0:
        return []
    return [
        "its container may ask others: the rule that closes its network is gone; "
        + (f"{script} start" if script else "the next release")
        + " puts it back"
    ]


def _bridge(engine, run):
    "The interface of the network on the host; nothing where there is no such network."
    code, out, _ = run([engine, "network", "inspect", NAME])
    if code:
        return ""
    network = json.loads(out)[0]
    if engine == "podman":
        return network["network_interface"]
    return network["Options"].get("com.docker.network.bridge.name") or "br-" + network["Id"][:12]
