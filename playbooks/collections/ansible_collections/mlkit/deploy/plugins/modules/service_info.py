#!/usr/bin/python
"What one host says about its services: their state, containers, images and what the proxy points at, in one round trip."

from ansible.module_utils.host_look import look_at_host
from ansible.module_utils.stroke import run_stroke

DOCUMENTATION = r"""
module: service_info
short_description: Look at the services of a host
description:
  - Reads the state of each service, its containers, the images that the engine has, the kept releases, and the
    container that the proxy sends requests to. Changes nothing.
  - What is live is what the running proxy says, not what the state says. A deployment that was cut off between the
    switch and the record leaves the two apart, and then the state would name the wrong container.
options:
  home: {description: Where services keep their state., type: path, required: true}
  service: {description: Look at this service only; it may be unknown yet., type: str}
  engine: {description: The container engine to use. Default is docker where it is installed and else podman., type: str, default: ""}
  ports: {description: The port by service as the inventory has it. Where one is at another, that is drift., type: dict, default: {}}
  proxy_socket: {description: The proxy's runtime socket., type: path, default: /run/haproxy.sock}
  proxy_config: {description: The proxy's configuration., type: path, default: /etc/haproxy/haproxy.cfg}
author: [The mlkit developers]
"""

EXAMPLES = r"""
- name: Look at what the host runs
  service_info:
    home: /var/lib/mlkit
    service: flights
"""

RETURN = r"""
services:
  description:
    - By name, the state (or null), the live container (or null), the containers, the kept releases, who holds the lock,
      what the proxy counted, the ports at which it takes requests and its certificate (or null), and how all that differs from what
      the journal says should run and from the inventory.
  type: dict
  returned: always
ports:
  description: The port of every service on the host, whichever was asked for.
  type: dict
  returned: always
engine:
  description: The container engine that answers, docker or podman; empty if none does, and then nothing else is looked at.
  type: str
  returned: always
proxy:
  description: Whether the proxy is installed.
  type: bool
  returned: always
signers:
  description: Whether the host has signers of its own, who must have signed a release.
  type: bool
  returned: always
images:
  description: The ids of the images that the engine has.
  type: list
  returned: always
free_bytes:
  description: What is free where the engine and the services keep their files, by folder.
  type: dict
  returned: always
"""


def look(step):
    want = step.want
    seen = look_at_host(
        *(want["home"], want["service"], want["engine"], step.run),
        *(want["proxy_socket"], want["proxy_config"], want["ports"]),
    )
    return {"changed": False, **seen}


if __name__ == "__main__":
    options = {
        "home": {"type": "path", "required": True},
        "service": {"type": "str"},
        "engine": {"type": "str", "default": ""},
        "ports": {"type": "dict", "default": {}},
        "proxy_socket": {"type": "path", "default": "/run/haproxy.sock"},
        "proxy_config": {"type": "path", "default": "/etc/haproxy/haproxy.cfg"},
    }
    run_stroke(look, options, check_mode=True)
