#!/usr/bin/python3
"""Gets this host's certificate from its authority where there is none or it is due, and lets the proxy serve it.

    python3 renew_certificate.py [--force]

cron runs it every hour, and so does a deployment. It prints one line of JSON; the exit code is 1 when a certificate was
due and could not be had. Then the old one is served on, failed.json says why, and so does `mlkit status`.

The proxy answers the authority's questions itself, the same for every token: the token and the thumbprint of the account's
key. So nothing has to be put in place for a renewal, and every host with that key can answer for every other.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import certificate
import proxy_config

FOLDER = "/etc/mlkit/acme"
HAPROXY = "/etc/haproxy"
SERVED = HAPROXY + "/mlkit.tls/01-acme.pem"  # the proxy's configuration names this link
LONGEST = 300  # seconds that the authority may take


class NotRenewed(Exception):
    "No new certificate; the words say why."


def place(name):
    return os.path.join(FOLDER, name)


def due(force):
    "Why a certificate is needed now; nothing if it is not."
    now = certificate.read_certificate(SERVED)
    if not now:
        return "there is none yet"
    if proxy_config.read(place("issued_for")) != asked():
        return "other names or another authority are asked for"
    if now["end"] - time.time() < (now["end"] - now["begin"]) / 3:
        return "less than a third of its time is left"
    return "asked for" if force else ""


def asked():
    "What a certificate is asked for: the authority, and the names."
    return (proxy_config.read(place("config")) or "") + (proxy_config.read(place("domains.txt")) or "")


def names():
    return sorted((proxy_config.read(place("domains.txt")) or "").partition(">")[0].split())


def counts():
    "Whether the certificate that is served is good for the names that are asked for."
    now = certificate.read_certificate(SERVED)
    return bool(now) and now["end"] > time.time() and set(names()) <= set(now["names"])


def ask_authority():
    "Let dehydrated get a certificate and its key. Raises `NotRenewed`."
    directory = next(line for line in asked().splitlines() if line.startswith("CA="))
    # An account belongs to one authority: dehydrated remembers it beside the key's file.
    key = place("account-" + hashlib.sha256(directory.encode()).hexdigest()[:12] + ".pem")
    if proxy_config.read(key) != proxy_config.read(place("account.pem")):
        with contextlib.suppress(FileNotFoundError):
            os.remove(key + ".json")
        with contextlib.suppress(FileNotFoundError):
            os.remove(key + "_id.json")
        proxy_config.write_whole(key, proxy_config.read(place("account.pem")), 0o600)
    words = ["dehydrated", "--config", place("config"), "--privkey", key, "--accept-terms", "--no-lock"]
    if not os.path.exists(key + ".json"):
        run([*words, "--register"])
    run([*words, "--cron", "--force"])
    if not os.path.exists(place("certs/proxy/fullchain.pem")):
        raise NotRenewed("dehydrated ended well and left no certificate: is domains.txt as it was written?")
    run([*words, "--cleanup-delete"])


def run(words):
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        said = process.communicate(timeout=LONGEST)[0].decode("utf-8", "replace")
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise NotRenewed(f"the authority did not answer within {LONGEST} s") from None
    if process.returncode:
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        errors = [number for number, line in enumerate(lines) if "ERROR" in line]
        raise NotRenewed(" ".join(lines[errors[0] :] if errors else lines[-3:])[:600])


def serve():
    "Put the new certificate under a name of its own, let the proxy check it, and only then lead it there. Raises `Refused`."
    text = "".join(
        proxy_config.read(place("certs/proxy/" + name)) for name in ("fullchain.pem", "privkey.pem")
    )
    folder, digest = os.path.dirname(SERVED), hashlib.sha256(text.encode()).hexdigest()[:12]
    new = os.path.join(folder, f"01-acme-{digest}.pem")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    before = os.path.realpath(SERVED) if os.path.exists(SERVED) else None
    proxy_config.write_whole(new, text, 0o600)
    whole = proxy_config.read(HAPROXY + "/haproxy.cfg")
    try:
        tried = whole.replace(SERVED, new) + f"\nfrontend tried\n  bind 127.0.0.1:9 ssl crt {new}\n"
        proxy_config.check(HAPROXY + "/haproxy.cfg", tried)
        lead(new)
        if SERVED in whole:
            proxy_config.reload()
    except proxy_config.Refused:
        if before:
            lead(before)
        os.remove(new)
        raise
    for name in os.listdir(folder):
        if name.startswith("01-acme-") and os.path.join(folder, name) != new:
            os.remove(os.path.join(folder, name))


def lead(file):
    os.symlink(os.path.basename(file), SERVED + ".unfinished")
    os.rename(SERVED + ".unfinished", SERVED)


def renew(force):
    "Why a certificate was got; nothing if none was due. Raises `NotRenewed`."
    why = due(force)
    if why:
        try:
            ask_authority()
            with proxy_config.alone(HAPROXY + "/mlkit.d"):
                serve()
        except (OSError, proxy_config.Refused) as error:
            raise NotRenewed(str(error)) from error
        proxy_config.write_whole(place("issued_for"), asked())
    with contextlib.suppress(FileNotFoundError):
        os.remove(place("failed.json"))
    return why


def main():
    os.umask(0o077)
    with open(place(".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a deployment and cron, or two deployments
        try:
            print(json.dumps({"renewed": renew("--force" in sys.argv[1:]), "counts": counts()}))
        except NotRenewed as problem:
            when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            proxy_config.write_whole(place("failed.json"), json.dumps({"when": when, "why": str(problem)}))
            print(json.dumps({"renewed": "", "counts": counts(), "failed": str(problem)}))
            sys.exit(1)


if __name__ == "__main__":
    main()
