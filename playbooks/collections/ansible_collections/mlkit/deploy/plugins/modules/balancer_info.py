#!/usr/bin/python
"What one balancer says: which services it takes requests for, where it leads them, and how that differs from the inventory."

import os

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.balancer_state import differences, services_of
from ..module_utils.certificate import look_at_certificate
from ..module_utils.proxy_config import pieces_of
from ..module_utils.proxy_socket import rows


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
