"""What a balancer does, beside what the inventory says that it should do.

    services_of(pieces, rows) -> dict        by service: its ports, its certificate's file, and the hosts that it leads to
    differences(here, plan) -> lines         what is not as in the plan (see the filter balancer_plan); nothing when all is
"""

import re

BIND = re.compile(r"^\s+bind \S*?:(\d+)(?:.* ssl crt (\S+))?", re.MULTILINE)
SERVER = re.compile(r"^\s+server (\S+) (\S+):(\d+) weight (\d+)$", re.MULTILINE)
UNSEEN = "its proxy does not run"


def services_of(pieces, rows):
    "`pieces`: text by name of the proxy's configuration. `rows`: the running proxy's own table; None where none runs."
    status = {(row["pxname"], row["svname"]): row["status"].split()[0] for row in rows or []}
    found = {}
    for name, text in sorted(pieces.items()):
        service = name[: -len(".cfg")]
        servers = SERVER.findall(text)
        if f"listen mlkit-{service}\n" not in text or not servers:
            continue
        bound = BIND.findall(text)
        found[service] = {
            "ports": sorted(int(port) for port, _ in bound),
            "certificate": next((file for _, file in bound if file), None),
            "hosts": {
                host: {
                    "address": f"{address}:{port}",
                    "drained": weight == "0",
                    "state": status.get(("mlkit-" + service, host), UNSEEN if rows is None else "unknown to the running proxy"),
                }
                for host, address, port, weight in servers
            },
        }
    return found


def differences(here, plan):
    "`plan` may be a refusal, or nothing for a service that the inventory does not tell of."
    away = [f"{host} does not answer it: {each['state']}" for host, each in here["hosts"].items() if each["state"] != "UP"]
    if not plan:
        return away
    if "refused" in plan:
        return [plan["refused"], *away]
    if not here["ports"]:
        return ["the inventory names it as a balancer, and it does not lead to this service: run playbooks/balancer.yml"]
    found, wanted = [], {each["name"]: f"{each['address']}:{each['port']}" for each in plan["servers"]}
    if here["ports"] != [plan["listen"]]:
        found.append(f"it takes requests at port {', '.join(map(str, here['ports']))}, and the inventory says {plan['listen']}")
    found += [f"{host} is in the inventory, and it does not lead there" for host in wanted if host not in here["hosts"]]
    for host, each in here["hosts"].items():
        if host not in wanted:
            found.append(f"it leads to {host}, which is not in the inventory")
        elif each["address"] != wanted[host]:
            found.append(f"it leads to {host} at {each['address']}, and the inventory says {wanted[host]}")
    return [each + ": run playbooks/balancer.yml" for each in found] + away
