#!/usr/bin/python
"Change where the proxy of a host sends the requests of a service, without losing one."

import os
import re
import shutil

from ansible.module_utils import proxy_config
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.deploy_lock import Lost, fence

DOCUMENTATION = r"""
module: proxy_route
short_description: Write a service's piece of the proxy configuration and reload the proxy
description:
  - Joins the pieces, lets the proxy check the whole, and writes and reloads only then. A configuration that the
    proxy refuses, or does not start with, leaves the old one in place.
options:
  pieces: {description: Folder of the pieces., type: path, required: true}
  config: {description: The proxy's own configuration file., type: path, required: true}
  piece: {description: "Name of the piece, the service's.", type: str, required: true}
  shared: {description: Text that all services share., type: str, required: true}
  certificate: {description: Chain and key of the piece in PEM; empty for none of its own., type: str, default: ""}
  certificate_file: {description: Where they are kept; the name changes with the content., type: path, required: true}
  route: {description: Text of the piece; empty to stop serving it., type: str, required: true}
  fence: {description: The lock under which it is done; see deploy_lock., type: dict, default: {}}
author: [The mlkit developers]
"""

EXAMPLES = r"""
- name: Point the proxy at the new container
  proxy_route:
    pieces: /etc/haproxy/mlkit.d
    config: /etc/haproxy/haproxy.cfg
    piece: flights
    certificate_file: /etc/haproxy/mlkit.tls/flights-1a2b3c4d5e6f.pem
    shared: "{{ lookup('template', 'global.cfg.j2') }}"
    route: "{{ lookup('template', 'service.cfg.j2') }}"
"""

RETURN = r"""
before: {description: Processes of the proxy that served before; they finish their requests., type: list, returned: success}
cause: {description: Why nothing was changed., type: str, returned: failure}
"""


def remove_certificates(want):
    "Those of the piece that its text does not name any more: the running proxy has read them."
    folder, mine = os.path.dirname(want["certificate_file"]), re.escape(want["piece"]) + r"-[0-9a-f]{12}\.pem"
    for name in os.listdir(folder) if os.path.isdir(folder) else []:
        if re.fullmatch(mine, name) and os.path.join(folder, name) not in want["route"]:
            os.remove(os.path.join(folder, name))


def change(want):
    "Put the piece in place; the processes that served before."
    kept = want["config"] + ".before-mlkit"
    if os.path.exists(want["config"]) and not os.path.exists(kept):
        shutil.copy2(want["config"], kept)
    new_certificate = want["certificate"] and not os.path.exists(want["certificate_file"])
    if new_certificate:
        os.makedirs(os.path.dirname(want["certificate_file"]), mode=0o700, exist_ok=True)
        proxy_config.write_whole(want["certificate_file"], want["certificate"], 0o600)
    pieces = {proxy_config.SHARED: want["shared"], want["piece"] + ".cfg": want["route"]}
    try:
        before = proxy_config.put(want["config"], want["pieces"], pieces)
    except proxy_config.Refused:
        if new_certificate:
            os.remove(want["certificate_file"])
        raise
    remove_certificates(want)
    return before


def main():
    module = AnsibleModule(
        argument_spec={
            "pieces": {"type": "path", "required": True},
            "config": {"type": "path", "required": True},
            "piece": {"type": "str", "required": True},
            "shared": {"type": "str", "required": True},
            "route": {"type": "str", "required": True},
            "certificate": {"type": "str", "default": "", "no_log": True},
            "certificate_file": {"type": "path", "required": True},
            "fence": {"type": "dict", "default": {}},
        },
    )
    try:
        with proxy_config.alone(module.params["pieces"]):
            fence(module.params["fence"])
            module.exit_json(changed=True, before=change(module.params))
    except (proxy_config.Refused, Lost) as refused:
        module.fail_json(msg=str(refused), cause=str(refused))
    except OSError as error:
        cause = ("disk full: " if error.errno == 28 else "the proxy could not be changed: ") + str(error)
        module.fail_json(msg=cause, cause=cause)


if __name__ == "__main__":
    main()
