#!/usr/bin/python
"What one host says about its services: their state, containers, images and what the proxy points at, in one round trip."

from ..module_utils.certificate import look_at_certificate
from ..module_utils.host_look import certificate_of, free_bytes, look_at_host
from ..module_utils.stroke import run_stroke


def look(step):
    want = step.want
    seen = look_at_host(
        *(want["home"], want["service"], want["engine"], step.run),
        *(want["proxy_socket"], want["proxy_config"], want["ports"]),
    )
    for name, here in seen["services"].items():
        here["certificate"], wrong = look_at_certificate(certificate_of(want["proxy_config"], name))
        here["drift"] += wrong
    return {"changed": False, **seen, "free_bytes": free_bytes(seen["engine"], want["home"], step.run)}


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
