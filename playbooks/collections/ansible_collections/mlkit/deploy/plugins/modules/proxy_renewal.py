#!/usr/bin/python
"Put on a host what gets and renews its certificate."

import base64
import hashlib
import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import proxy_config
from ..module_utils.full_disk import why_not_written

PROBE = "http://127.0.0.1/.well-known/acme-challenge/probe"


def put(path, text):
    "Whether the file was written."
    if proxy_config.read(path) == text:
        return False
    os.makedirs(os.path.dirname(path), exist_ok=True)
    proxy_config.write_whole(path, text, 0o600)
    return True


def url64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def thumbprint(key):
    "Of an RSA key, as RFC 7638 has it; None if the file holds none."
    words = ["openssl", "rsa", "-in", key, "-noout", "-modulus"]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    if done.returncode:
        return None
    modulus = bytes.fromhex(done.stdout.decode("ascii").strip().partition("=")[2])
    # openssl makes every RSA key with the exponent 65537.
    words = {"e": url64((65537).to_bytes(3, "big")), "kty": "RSA", "n": url64(modulus)}
    return url64(hashlib.sha256(json.dumps(words, separators=(",", ":")).encode()).digest())


def proxy_says():
    "What the proxy answers now; nothing if it does not."
    try:
        with urllib.request.urlopen(PROBE, timeout=5) as answer:
            return answer.read(1000).decode("utf-8", "replace").strip()
    except (OSError, urllib.error.URLError):
        return ""


def main():
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "required": True},
            "files": {"type": "dict", "required": True},
            "account": {"type": "str", "default": "", "no_log": True},
        },
    )
    want = module.params
    missing = [name for name in ("dehydrated", "openssl", "curl", "cron") if not shutil.which(name)]
    if "cron" in missing and shutil.which("crond"):
        missing.remove("cron")
    if missing:
        cause = (
            f"certificates are got with dehydrated and renewed by cron, and here {' and '.join(missing)} is"
            " missing: install it, or set proxy_install=true on a Debian host"
        )
        module.fail_json(msg=cause, cause=cause)
    try:
        changed = any([put(path, text) for path, text in want["files"].items()])
        os.makedirs(os.path.join(want["folder"], "answers"), exist_ok=True)  # dehydrated wants a folder
        key = os.path.join(want["folder"], "account.pem")
        if want["account"]:
            changed |= put(key, want["account"])
        elif not os.path.exists(key):
            text = module.run_command(["openssl", "genrsa", "3072"], check_rc=True)[1]
            changed |= put(key, text)
    except OSError as error:
        cause = why_not_written(error, want["folder"], "the renewal could not be set up")
        module.fail_json(msg=cause, cause=cause)
    mine = thumbprint(key)
    if not mine:
        cause = "the account's key is not an RSA key in PEM: make one with openssl genrsa 3072"
        module.fail_json(msg=cause, cause=cause)
    module.exit_json(changed=changed, thumbprint=mine, answers=proxy_says() == "probe." + mine)


if __name__ == "__main__":
    main()
