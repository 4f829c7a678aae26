"""Whether a release is signed by somebody whom this host trusts.

The signature over release.json is checked with OpenSSH (`ssh-keygen -Y`, namespace `mlkit-release`), and golden.json is the one that
release.json names. The image needs no check of its own: its id is the digest of its content, and release.json names it. The signers
of the deployer and those in /etc/mlkit/signers, where that file exists, must both accept it. Without either, nothing is checked.

A release that the host keeps stays one to go back to after its signer's key was replaced, where this very record was live on this
host with a signature that counted then. For a new deployment the key must count now.

    texts_of(folder) -> texts                                   the files of a release that a host keeps
    accepted(texts, signers, folder, kept, …) -> signer         raises Failed; "" where nobody asks for a signature
    note_signer(folder, entry)                                  write down whose signature counted
"""

import hashlib
import json
import os
import subprocess
import tempfile

from .failed import Failed
from .proxy_config import write_whole

HOST_SIGNERS = "/etc/mlkit/signers"
NAMESPACE = "mlkit-release"
ACCEPTED = "accepted.json"  # in a release's folder: whose signature of which record counted
FILES = ("release.json", "release.json.sig", "golden.json")


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
    "The name of who signed the record, if these signers accept it. Raises `Failed`."
    if not signature:
        raise Failed(f"the release is not signed, and {whose} ask for a signature")
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
    raise Failed(refused)


def accepted_signer(folder, record):
    "Who signed this very record, by what this host wrote when it was live here with a signature that counted."
    try:
        accepted = json.loads(read(os.path.join(folder, ACCEPTED)))
        return str(accepted["signer"]) if accepted["record"] == digest_of(record) else ""
    except (ValueError, KeyError, TypeError):  # it was never accepted here
        return ""


def digest_of(text):
    return "sha256:" + hashlib.sha256(text.encode("utf-8")).hexdigest()


def texts_of(folder):
    "The files of a release that a host keeps, by name; what is missing is empty."
    return {name: read(os.path.join(folder, name)) for name in FILES}


def accepted(texts, signers, folder, kept, host_signers=HOST_SIGNERS):
    """The name of who signed the release, empty where nobody asks for a signature. Raises `Failed`.

    `signers` is the text of the deployer's allowed signers, and `kept` whether the host goes back to what it keeps in `folder`.
    """
    record, signature, golden = (texts.get(name, "") for name in FILES)
    trusted = {"the project's signers": signers, host_signers + " of the host": read(host_signers)}
    signer = ""
    try:
        for whose, lines in trusted.items():
            if lines.strip():
                signer = trusted_signer(record, signature, lines, whose, folder if kept else "")
        promised = json.loads(record).get("golden") if signer else ""
        if signer and promised != digest_of(golden):
            raise Failed(
                f"golden.json is not the one that {signer} signed: release.json names {promised}, it is {digest_of(golden)}"
            )
    except Failed as refused:
        raise Failed(f"signature refused: {refused}") from refused
    return signer


def trusted_signer(record, signature, signers, whose, kept):
    "The signer whom these signers accept, or whom they accepted when the release in `kept` was live."
    try:
        return signer_of(record, signature, signers, whose)
    except Failed:
        signer = accepted_signer(kept, record) if kept else ""
        if not signer:
            raise
        return signer


def note_signer(folder, entry):
    "What of this release was accepted on this host, and by whose signature, by a line of the journal."
    if not entry.get("signer"):
        return
    record = digest_of(read(os.path.join(folder, "release.json")))
    said = {"record": record, "signer": entry["signer"], "when": entry.get("when")}
    write_whole(os.path.join(folder, ACCEPTED), json.dumps(said, sort_keys=True) + "\n")
