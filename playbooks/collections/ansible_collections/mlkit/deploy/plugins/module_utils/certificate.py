"""A certificate on this host: until when it counts, for which names, and what is wrong with it.

The renewal uses it too, on hosts where no Ansible is: the standard library and the command openssl.
"""

import json
import os
import re
import ssl
import subprocess
import time

# Seconds before the end that a person needs to act, unless the certificate is shorter lived.
WARNING = 30 * 86400

RENEWED = "01-acme.pem"  # which the host renews by itself, and what the last try failed with
FAILED = "/etc/mlkit/acme/failed.json"


def read_certificate(path):
    "Begin and end in seconds since 1970, names and serial of the first certificate in a PEM file; None if it holds none."
    words = ["openssl", "x509", "-in", path, "-noout", "-dates", "-serial", "-ext", "subjectAltName"]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    said = done.stdout.decode("utf-8", "replace")
    fields = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    if not {"notBefore", "notAfter", "serial"} <= set(fields):
        return None
    return {
        "begin": ssl.cert_time_to_seconds(fields["notBefore"]),
        "end": ssl.cert_time_to_seconds(fields["notAfter"]),
        "names": sorted(re.findall(r"DNS:([^\s,]+)", said)),
        "serial": fields["serial"],
    }


def failed_renewal(path):
    "What the last renewal failed with; None if it did not fail."
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return None


def complaints(path, failed):
    "What is wrong with a certificate and with its renewal, a sentence each; `failed` is the file of a failed renewal, or None."
    found, certificate = [], read_certificate(path)
    if not certificate:
        return [f"the certificate {path} cannot be read"]
    until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(certificate["end"]))
    last = failed and failed_renewal(failed)
    if last:
        found.append(
            f"the certificate could not be renewed ({last['when']}): {last['why']}; it counts until {until}"
        )
    left = certificate["end"] - time.time()
    if left <= 0:
        found.append(f"the certificate ended at {until}: clients refuse it")
    elif not last and left < min(WARNING, (certificate["end"] - certificate["begin"]) / 4):
        found.append(f"the certificate ends at {until}, and nothing has renewed it")
    return found


def look_at_certificate(path):
    "What `mlkit status` shows of a certificate, or nothing where there is none, and what is wrong with it."
    if not path:
        return None, []
    found = read_certificate(path)
    shown = found and {
        "file": path,
        "names": found["names"],
        "until": time.strftime("%Y-%m-%d", time.gmtime(found["end"])),
        "days": int((found["end"] - time.time()) // 86400),
    }
    return shown, complaints(path, FAILED if os.path.basename(path) == RENEWED else None)
