#!/usr/bin/python
"Let in ssh and the ports of services, and nothing else; rules that lock everybody out go back by themselves."

import hashlib
import json
import os
import re
import subprocess
import uuid

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import firewall_trial as trial
from ..module_utils.firewall_trial import Refused
from ..module_utils.proxy_config import read, write_whole

# In numbers, for a small host has no /etc/protocols.
RULES = """table inet mlkit {
	chain input {
		type filter hook input priority filter; policy drop;
		ct state established,related accept
		iifname "lo" accept
		meta l4proto { 1, 58 } accept comment "ICMP"
		udp sport 67 udp dport 68 accept comment "an address from DHCP"
		udp sport 547 udp dport 546 accept comment "an address from DHCP"
		tcp dport { @tcp@ } accept comment "ssh, services"
		@udp@
	}
}
"""
LOCAL = re.compile(r"127\.|\[::1\]|\[::ffff:127\.|.*%lo$")
# Packets for the ports of the first two are led to a container before this table sees them. The others ask by UDP, and what
# answers them comes in.
PASSED_OVER = {"docker-proxy", "conmon", "avahi-daemon", "chronyd", "ntpd", "systemd-resolve"}
LEAST_EPHEMERAL = 32768
HEAD = "# Made by mlkit: change host_firewall_ports, or this is overwritten. Rules of your own go into a table of your own.\n# "
SCRIPT = r"""#!/bin/sh
### BEGIN INIT INFO
# Provides:          mlkit-firewall
# Required-Start:    $local_fs
# Required-Stop:
# X-Start-Before:    $network
# Default-Start:     2 3 4 5
# Default-Stop:
# Short-Description: Let in ssh and the ports of services
### END INIT INFO
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
[ "$1" = start ] || { echo "usage: $0 start" >&2; exit 2; }
nft -f '@file@'
"""
# As Debian's own nftables.service, and after it, for that one may begin by flushing all tables. Without the default dependencies:
# they would have it wait for what itself waits for the network.
UNIT = """[Unit]
Description=Let in ssh and the ports of services
DefaultDependencies=no
Wants=network-pre.target
After=nftables.service
Before=network-pre.target shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft -f @file@

[Install]
WantedBy=sysinit.target
"""


def lines_of(*command):
    "What a command prints; nothing if it is not there or fails."
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    except OSError:
        return []
    return done.stdout.decode("utf-8", "replace").splitlines() if not done.returncode else []


def this_connection():
    "Who talks to whom over ssh while this runs, as ssh says it; sudo hides the variable, so the parents are asked."
    process = os.getpid()
    while process > 1:
        with open(f"/proc/{process}/environ", "rb") as file:
            found = re.search(rb"(?:^|\0)SSH_CONNECTION=([^\0]*)", file.read())
        if found:
            return found.group(1).decode()
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
            process = int(file.read().rpartition(")")[2].split()[1])
    return ""


def listening():
    "Program by protocol and port, of what waits for others than the host itself."
    found = {}
    for protocol, options in (("tcp", "-Hltnp"), ("udp", "-Hlunp")):
        for line in lines_of("ss", options):
            address, _, port = line.split()[3].rpartition(":")
            program = re.search(r'\(\("([^"]+)"', line)
            asks = protocol == "udp" and program and int(port) >= LEAST_EPHEMERAL
            if not LOCAL.match(address) and not asks:
                found[protocol, int(port)] = program.group(1) if program else "the kernel"
    return found


def wanted_ports(want, heard):
    "All that are let in, whatever was asked for: nobody is locked out, and no service is cut off."
    ssh = {int(port) for port in this_connection().split()[3:]}
    ssh |= {port for (_, port), program in heard.items() if program == "sshd"}
    ssh |= {int(line.split()[1]) for line in lines_of("sshd", "-T") if re.match(r"port \d+$", line)}
    if not ssh:
        raise Refused(
            "no port of ssh was found, which must stay open: start sshd, or set host_firewall=false"
        )
    proxy = {port for (protocol, port), program in heard.items() if (protocol, program) == ("tcp", "haproxy")}
    return {"tcp": sorted(ssh | proxy | {*want["ports"], *want["more"]}), "udp": sorted(set(want["more"]))}


def rules_for(ports):
    "The table as nft reads it."
    tcp, udp = (", ".join(map(str, ports[protocol])) for protocol in ("tcp", "udp"))
    return RULES.replace("@tcp@", tcp).replace("@udp@", f"udp dport {{ {udp} }} accept" if udp else "")


def open_ports(rules):
    "Protocol and port of what a table lets in."
    lines = re.findall(r"(tcp|udp) dport (?:\{ )?([\d,\s]+)", rules)
    return {(protocol, int(port)) for protocol, numbers in lines for port in numbers.split(",")}


def refuse_to_close(heard, rules, running):
    "Raises `Refused` for a port that is open now, on which somebody waits."
    lost = {each for each in heard if heard[each] not in PASSED_OVER} - open_ports(rules)
    lost &= open_ports(running) if running else lost
    closed = [f"{port}/{protocol} ({heard[protocol, port]})" for protocol, port in sorted(lost)]
    if closed:
        raise Refused(
            f"the firewall would close a port on which something listens: {', '.join(closed)}. Name what stays open in "
            "host_firewall_ports, stop the others, or set host_firewall=false"
        )


def refuse_another_firewall():
    "Raises `Refused` where another table lets in only what it names: a port would have to be opened there, too."
    for line in lines_of("nft", "-j", "list", "chains"):
        for each in json.loads(line)["nftables"]:
            chain = each.get("chain", {})
            drops = chain.get("hook") == "input" and chain.get("policy") == "drop"
            if chain.get("table") != "mlkit" and (drops or chain.get("table") == "firewalld"):
                raise Refused(
                    f"another firewall is there already: the chain {chain['name']} of the table {chain['family']} {chain['table']}. "
                    "Open the ports of ssh and services there, and set host_firewall=false"
                )


def try_rules(want, check_mode):
    "Put the rules in force for a while; whether that changes anything, and what keeps them."
    heard, running = listening(), trial.running()
    ports = wanted_ports(want, heard)
    rules = rules_for(ports)
    if running and read(rules_file(want)) == text_for_boot(rules, running):
        return {"changed": False, "ports": ports}
    refuse_another_firewall()
    refuse_to_close(heard, rules, running)
    token = uuid.uuid4().hex
    if not check_mode:
        trial.begin(token, rules, want["seconds"], this_connection())
    return {"changed": True, "ports": ports, "token": token, "diff": {"before": running, "after": rules}}


def keep_rules(want):
    "Have the rules that are tried stay, also over a boot."
    rules = trial.keep(want["token"], this_connection())
    os.makedirs(want["folder"], exist_ok=True)
    write_whole(rules_file(want), text_for_boot(rules, trial.running()))
    if os.path.isdir("/run/systemd/system"):
        path, text, mode = "/etc/systemd/system/mlkit-firewall.service", UNIT, 0o644
        enable = ["systemctl", "enable", "mlkit-firewall.service"]
    else:
        path, text, mode = "/etc/init.d/mlkit-firewall", SCRIPT, 0o755
        enable = ["update-rc.d", "mlkit-firewall", "defaults"]
    write_whole(path, text.replace("@file@", rules_file(want)), mode)
    done = subprocess.run(enable, capture_output=True, check=False, encoding="utf-8")
    if done.returncode:
        raise Refused(
            "the firewall would not be there after a boot: " + " ".join((done.stderr or done.stdout).split())
        )
    return {"changed": True}


def rules_file(want):
    return os.path.join(want["folder"], "firewall.nft")


def text_for_boot(rules, running):
    "What is kept: the rules as nft itself writes them, and which ones were wanted. Both are compared the next time."
    return f"{HEAD}{hashlib.sha256(rules.encode()).hexdigest()[:12]}\n{trial.replacing(running)}"


def main():
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["tried", "kept"], "required": True},
            "ports": {"type": "list", "elements": "int", "default": []},
            "more": {"type": "list", "elements": "int", "default": []},
            "seconds": {"type": "int", "default": 60},
            "token": {"type": "str", "default": "", "no_log": False},
            "folder": {"type": "path", "default": "/etc/mlkit"},
        },
        supports_check_mode=True,
    )
    want = module.params
    try:
        done = keep_rules(want) if want["state"] == "kept" else try_rules(want, module.check_mode)
    except (Refused, OSError) as refused:
        module.fail_json(msg=str(refused), cause=str(refused))
    module.exit_json(**done)


if __name__ == "__main__":
    main()
