#!/usr/bin/python
"What one balancer says: which services it takes requests for, where it leads them, and how that differs from the inventory."

import os

from ansible.module_utils.balancer_state import differences, services_of
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.certificate import look_at_certificate
from ansible.module_utils.proxy_config import pieces_of
from ansible.module_utils.proxy_socket import rows

DOCUMENTATION = r"""
module: balancer_info
short_description: Look at a balancer
description:
  - Reads the pieces of the proxy's configuration that lead to hosts, their certificates, and what the running proxy knows of
    each host. Changes nothing.
options:
  plans: {description: What the filter balancer_plan says of a service, by name., type: dict, default: {}}
  proxy_socket: {description: The proxy's runtime socket., type: path, default: /run/haproxy.sock}
  proxy_pieces: {description: The folder with the pieces of its configuration., type: path, default: /etc/haproxy/mlkit.d}
author: [The mlkit developers]
"""

EXAMPLES = r"""
- name: Look at the balancer
  balancer_info:
    plans: {flights: "{{ 'flights' | balancer_plan(groups, hostvars, inventory_hostname, []) }}"}
"""

RETURN = r"""
balanced: {description: "By service, its ports, its certificate, the hosts that it leads to, and what differs.", type: dict, returned: always}
"""

def main():
    options = {
        "plans": {"type": "dict", "default": {}},
        "proxy_socket": {"type": "path", "default": "/run/haproxy.sock"},
        "proxy_pieces": {"type": "path", "default": "/etc/haproxy/mlkit.d"},
    }
    module = AnsibleModule(argument_spec=options, supports_check_mode=True)
    want = module.params
    try:
        running = list(rows(want["proxy_socket"]))
    except OSError:
        running = None
    pieces = pieces_of(want["proxy_pieces"]) if os.path.isdir(want["proxy_pieces"]) else {}
    balanced = services_of(pieces, running)
    for service in want["plans"]:
        balanced.setdefault(service, {"ports": [], "certificate": None, "hosts": {}})
    for service, here in balanced.items():
        here["certificate"], wrong = look_at_certificate(here["certificate"])
        here["drift"] = differences(here, want["plans"].get(service)) + wrong
    module.exit_json(changed=False, balanced=balanced)


if __name__ == "__main__":
    main()
