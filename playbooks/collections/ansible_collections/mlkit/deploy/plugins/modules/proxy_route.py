#!/usr/bin/python
"Change where the proxy of a host sends the requests of a service, without losing one."

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.deploy_lock import Lost
from ansible.module_utils.full_disk import why_not_written
from ansible.module_utils.proxy_config import Refused
from ansible.module_utils.proxy_piece import put_piece, service_piece

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
  text: {description: Text of the piece; empty for none., type: str, default: ""}
  service:
    description: In place of a text, what leads to a service - listen, bind, body_megabytes, first (a container's colour and port, empty for none).
    type: dict
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
    service: {listen: 8000, bind: "", body_megabytes: 64, first: {colour: green, port: 8002}}
"""

RETURN = r"""
before: {description: Processes of the proxy that served before; they finish their requests., type: list, returned: success}
cause: {description: Why nothing was changed., type: str, returned: failure}
"""


def main():
    module = AnsibleModule(
        argument_spec={
            "pieces": {"type": "path", "required": True},
            "config": {"type": "path", "required": True},
            "piece": {"type": "str", "required": True},
            "shared": {"type": "str", "required": True},
            "text": {"type": "str", "default": ""},
            "service": {"type": "dict"},
            "certificate": {"type": "str", "default": "", "no_log": True},
            "certificate_file": {"type": "path", "required": True},
            "fence": {"type": "dict", "default": {}},
        },
    )
    want = module.params
    text = service_piece(want["piece"], **want["service"]) if want["service"] else want["text"]
    try:
        before = put_piece(want["piece"], text, want, want["certificate"], want["fence"])
        module.exit_json(changed=True, before=before)
    except (Refused, Lost) as refused:
        module.fail_json(msg=str(refused), cause=str(refused))
    except OSError as error:
        cause = why_not_written(error, want["pieces"], "the proxy could not be changed")
        module.fail_json(msg=cause, cause=cause)


if __name__ == "__main__":
    main()
