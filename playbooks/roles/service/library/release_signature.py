#!/usr/bin/python
"Refuse a release that nobody signed whom we trust, or that was changed since."

import hashlib
import json
import os
import subprocess
import tempfile

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: release_signature
short_description: Check who signed a release
description:
  - Checks the signature over release.json with OpenSSH (C(ssh-keygen -Y), namespace C(mlkit-release)), and that
    golden.json is the one that release.json names. The image needs no check of its own - its id is the digest of its
    content, and release.json names it.
  - The signers of the deployer and those in C(host_signers), where that file exists, must both accept it. Without
    either, nothing is checked.
  - A release that the host keeps stays one to go back to after its signer's key was replaced, where this very record was
    live on this host with a signature that counted then. For a new deployment the key must count now.
options:
  signers: {description: Text of an allowed signers file; empty to ask for none., type: str, default: ""}
  host_signers: {description: The host's own allowed signers., type: path, default: /etc/mlkit/signers}
  texts: {description: The release's files by name; empty for a release that the host keeps., type: dict, default: {}}
  folder: {description: Where the host keeps the release., type: path, required: true}
  kept: {description: Whether the host goes back to what it keeps., type: bool, default: false}
author: [The mlkit developers]
"""

EXAMPLES = r"""
- name: Check who signed the release
  release_signature:
    signers: "{{ lookup('ansible.builtin.file', 'signers', rstrip=False) }}"
    folder: /var/lib/mlkit/flights/releases/flights-3-1a2b3c4d5e6f
"""

RETURN = r"""
signer: {description: The name of who signed, empty where nobody asks., type: str, returned: success}
cause: {description: Why the release is refused., type: str, returned: failure}
"""

NAMESPACE = "mlkit-release"
ACCEPTED = "accepted.json"  # in a release's folder, by service_kept: whose signature of which record counted
FILES = ("release.json", "release.json.sig", "golden.json")


class Refused(Exception):
    "The words say why."


def read(path):
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def keygen(*words, data=""):
    done = subprocess.run(
        ["ssh-keygen", *words],
        input=data.encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace").strip()


def signer_of(record, signature, signers, whose):
    "The name of who signed the record, if these signers accept it. Raises `Refused`."
    if not signature:
        raise Refused(f"the release is not signed, and {whose} ask for a signature")
    refused = f"the release is signed by nobody whom {whose} name, or by a key that counts no longer"
    with tempfile.TemporaryDirectory(prefix="mlkit-") as folder:
        places = {name: os.path.join(folder, name) for name in ("signature", "signers")}
        with open(places["signature"], "w", encoding="utf-8", newline="") as file:
            file.write(signature)
        known = ["-s", places["signature"], "-f", places["signers"]]
        for line in signers.splitlines():  # each alone: a line that does not count must not hide the next
            with open(places["signers"], "w", encoding="utf-8", newline="") as file:
                file.write(line + "\n")
            code, said = keygen("-Y", "find-principals", *known)
            name = said.split("\n")[0].strip()
            if code or not name:
                continue
            code, said = keygen("-Y", "verify", *known, "-n", NAMESPACE, "-I", name, data=record)
            if not code:
                return name
            refused = f"release.json was changed after {name} signed it, or was signed for something else: {said}"
    raise Refused(refused)


def accepted_signer(folder, record):
    "Who signed this very record, by what this host wrote when it was live here with a signature that counted."
    try:
        accepted = json.loads(read(os.path.join(folder, ACCEPTED)))
        same = accepted["record"] == "sha256:" + hashlib.sha256(record.encode("utf-8")).hexdigest()
        return str(accepted["signer"]) if same else ""
    except (ValueError, KeyError, TypeError):  # it was never accepted here
        return ""


def check(want):
    texts = want["texts"] or {name: read(os.path.join(want["folder"], name)) for name in FILES}
    record, signature, golden = (texts.get(name, "") for name in FILES)
    trusted = {
        "the project's signers": want["signers"],
        want["host_signers"] + " of the host": read(want["host_signers"]),
    }
    signer = ""
    for whose, signers in trusted.items():
        if signers.strip():
            try:
                signer = signer_of(record, signature, signers, whose)
            except Refused:
                signer = accepted_signer(want["folder"], record) if want["kept"] else ""
                if not signer:
                    raise
    if signer:
        promised = json.loads(record).get("golden")
        found = "sha256:" + hashlib.sha256(golden.encode("utf-8")).hexdigest()
        if promised != found:
            raise Refused(
                f"golden.json is not the one that {signer} signed: release.json names {promised}, it is {found}"
            )
    return signer


def main():
    module = AnsibleModule(
        argument_spec={
            "signers": {"type": "str", "default": ""},
            "host_signers": {"type": "path", "default": "/etc/mlkit/signers"},
            "texts": {"type": "dict", "default": {}},
            "folder": {"type": "path", "required": True},
            "kept": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=False, signer=check(module.params))
    except Refused as refusal:
        cause = "signature refused: " + str(refusal)
        module.fail_json(msg=cause, cause=cause)


if __name__ == "__main__":
    main()
