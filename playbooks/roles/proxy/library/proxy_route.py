#!/usr/bin/python
"Change where the proxy of a host sends the requests of a service, without losing one."

import os
import re
import shutil
import subprocess
import time

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: proxy_route
short_description: Write a service's piece of the proxy configuration and reload the proxy
description:
  - Writes the pieces, joins them, lets the proxy check the whole, and reloads it only then. A configuration that the
    proxy refuses leaves the old one in place.
  - With C(drain) it then waits until the processes that C(before) names have finished their requests.
options:
  pieces: {description: Folder of the pieces., type: path, required: true}
  config: {description: The proxy's own configuration file., type: path, required: true}
  service: {description: Name of the service., type: str, required: true}
  shared: {description: Text that all services share., type: str, required: true}
  certificate: {description: Chain and key of the service in PEM; empty for no TLS., type: str, default: ""}
  certificate_file: {description: Where they are kept; the name changes with the content., type: path, required: true}
  route: {description: Text of the service's piece; empty to stop serving it., type: str, required: true}
author: [The mlkit developers]
"""

EXAMPLES = r"""
- name: Point the proxy at the new container
  proxy_route:
    pieces: /etc/haproxy/mlkit.d
    config: /etc/haproxy/haproxy.cfg
    service: flights
    certificate_file: /etc/haproxy/mlkit.tls/flights-1a2b3c4d5e6f.pem
    shared: "{{ lookup('template', 'global.cfg.j2') }}"
    route: "{{ lookup('template', 'service.cfg.j2') }}"
"""

RETURN = r"""
before: {description: Processes of the proxy that served before., type: list, returned: success}
cause: {description: Why nothing was changed., type: str, returned: failure}
"""


def write_whole(path, text, mode=0o644):
    unfinished = path + ".unfinished"
    with open(
        os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8"
    ) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(unfinished, mode)
    os.rename(unfinished, path)


def remove_certificates(want, whole):
    "Those of the service that the configuration does not name any more: the running proxy has read them."
    folder, mine = (
        os.path.dirname(want["certificate_file"]),
        re.escape(want["service"]) + r"-[0-9a-f]{12}\.pem",
    )
    for name in os.listdir(folder) if os.path.isdir(folder) else []:
        if re.fullmatch(mine, name) and os.path.join(folder, name) not in whole:
            os.remove(os.path.join(folder, name))


def processes():
    "The running processes of the proxy."
    done = subprocess.run(["pidof", "haproxy"], stdout=subprocess.PIPE, check=False)
    return done.stdout.decode().split()


def main():
    module = AnsibleModule(
        argument_spec={
            "pieces": {"type": "path", "required": True},
            "config": {"type": "path", "required": True},
            "service": {"type": "str", "required": True},
            "shared": {"type": "str", "required": True},
            "route": {"type": "str", "required": True},
            "certificate": {"type": "str", "default": "", "no_log": True},
            "certificate_file": {"type": "path", "required": True},
        },
    )
    want = module.params
    try:
        change(module, want)
    except OSError as error:
        cause = ("disk full: " if error.errno == 28 else "the proxy could not be changed: ") + str(error)
        module.fail_json(msg=cause, cause=cause)


def change(module, want):
    os.makedirs(want["pieces"], mode=0o755, exist_ok=True)
    kept = want["config"] + ".before-mlkit"
    if os.path.exists(want["config"]) and not os.path.exists(kept):
        shutil.copy2(want["config"], kept)
    piece = os.path.join(want["pieces"], want["service"] + ".cfg")
    texts = {"00-global.cfg": want["shared"]}
    for name in os.listdir(want["pieces"]):
        if name.endswith(".cfg") and name != "00-global.cfg":
            with open(os.path.join(want["pieces"], name), encoding="utf-8") as file:
                texts[name] = file.read()
    texts[os.path.basename(piece)] = want["route"]
    new_certificate = want["certificate"] and not os.path.exists(want["certificate_file"])
    if new_certificate:
        os.makedirs(os.path.dirname(want["certificate_file"]), mode=0o700, exist_ok=True)
        write_whole(want["certificate_file"], want["certificate"], 0o600)
    whole = "".join(texts[name] for name in sorted(texts))
    tried = want["config"] + ".tried"
    write_whole(tried, whole)
    code, out, err = module.run_command(["haproxy", "-c", "-q", "-f", tried])
    if code:
        os.remove(tried)
        if new_certificate:
            os.remove(want["certificate_file"])
        cause = "the proxy refuses its new configuration: " + (err or out).strip()
        module.fail_json(msg=cause, cause=cause)
    write_whole(os.path.join(want["pieces"], "00-global.cfg"), want["shared"])
    if want["route"]:
        write_whole(piece, want["route"])
    elif os.path.exists(piece):
        os.remove(piece)
    os.rename(tried, want["config"])
    remove_certificates(want, whole)
    before = processes()
    code, out, err = module.run_command(["service", "haproxy", "reload" if before else "start"])
    if code:
        cause = "the proxy could not be reloaded: " + (err or out).strip()
        module.fail_json(msg=cause, cause=cause)
    deadline = time.monotonic() + 10
    while not set(processes()) - set(before) and time.monotonic() < deadline:
        time.sleep(0.02)
    module.exit_json(changed=True, before=before)


if __name__ == "__main__":
    main()
