"What a balancer leads to, as a plain function of the inventory: no host is touched here."

import json


class Refused(Exception):
    "The inventory does not say what a balancer could do; the words say why and what to do."


def port_of(variables, service):
    "The port of a service as the variables of one host have it; None if they say nothing."
    ports = variables.get("service_ports") or {}
    ports = json.loads(ports) if isinstance(ports, str) else ports  # in settings.ini it is text
    return ports.get(service, variables.get("service_port"))


def names(given):
    "A list of names, also as one writes it on a command line."
    return [name for name in (given.split(",") if isinstance(given, str) else given) if name]


def plan(service, groups, hostvars, own, drained):
    "Where the balancer `own` listens for a service, and the hosts behind it, each with weight 0 while it is drained."
    hosts, away = list(groups.get("hosts", [])), names(drained)
    if not hosts:
        raise Refused("the group hosts of the inventory is empty: a balancer has nothing to lead to")
    if own in hosts:
        raise Refused(
            f"{own} is in the groups hosts and balancers, and both would listen on the service's port:"
            " a balancer is a machine of its own"
        )
    unknown = sorted(set(away) - set(hosts))
    if unknown:
        raise Refused(f"balancer_drained names {', '.join(unknown)}; the hosts are {', '.join(hosts)}")
    if set(away) == set(hosts):
        raise Refused("balancer_drained names all hosts: nobody would answer")
    for host in hosts:
        if hostvars[host].get("proxy_tls_certificate") or hostvars[host].get("proxy_acme_directory"):
            raise Refused(
                f"{host} speaks TLS to its clients, and a balancer speaks HTTP to hosts: set proxy_tls_certificate"
                " or proxy_acme_directory for the group balancers, and not for hosts"
            )
    ports = {host: int(port_of(hostvars[host], service) or 8000) for host in hosts}
    return {
        "listen": int(port_of(hostvars[own], service) or ports[hosts[0]]),
        "servers": [
            {
                "name": host,
                "address": hostvars[host].get("balancer_address")
                or hostvars[host].get("ansible_host")
                or host,
                "port": ports[host],
                "weight": 0 if host in away else 100,
            }
            for host in hosts
        ],
    }


def balancer_plan(*words):
    "The plan, or a refusal as data."
    try:
        return plan(*words)
    except Refused as refusal:
        return {"refused": str(refusal)}


def balancer_lines(balanced):
    "A line for each service: where the balancer takes its requests, which hosts it leads them to, and what differs."
    lines = []
    for service, here in sorted(balanced.items()):
        hosts = ", ".join(f"{host} {'drained' if each['drained'] else each['state']}" for host, each in here["hosts"].items())
        until = f"; certificate until {here['certificate']['until']}" if here["certificate"] else ""
        lines.append(f"{service}: port {', '.join(map(str, here['ports']))} -> {hosts}{until}")
        lines += [f"{service}: DRIFT: {each}" for each in here["drift"]]
    return lines or ["no service is balanced here"]


class FilterModule:
    def filters(self):
        return {"balancer_plan": balancer_plan, "balancer_lines": balancer_lines}
