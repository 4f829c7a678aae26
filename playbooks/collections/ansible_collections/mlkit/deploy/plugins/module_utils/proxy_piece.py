"""A service's piece of the proxy's configuration, and putting it in place without losing a request."""

import os
import re
import shutil

from . import proxy_config
from .deploy_lock import fence

# What a host tells others of its deployments, by service, and whether it is to stay out of a balancer; see pending.
DEPLOYMENTS = "/etc/haproxy/mlkit.deployments"
DEPLOYMENT_PATH = "/.well-known/mlkit/deployment"
TELL = (
    "  http-request return status 200 content-type text/plain hdr cache-control no-store"
    ' lf-string "%[str({service}),map({file},-/-/)]" if {{ path {path} }}\n'
    "  http-request return status 503 content-type application/json hdr cache-control no-store"
    """ string '{{"status": "out", "reason": "this host was down, and may have missed a deployment"}}'"""
    " if {{ path /readyz }} {{ str({service}/out),map({file}) -m found }}\n"
)
LISTEN = """listen mlkit-{service}
  bind *:{listen}{bind}
  http-request deny deny_status 413 if {{ req.body_size gt {body_bytes} }}
  option httpchk GET /readyz
  default-server check inter 2s fall 3 rise 1
"""
# One refused connection is enough: the same request goes to the container that stands by.
ONE_ERROR = " observe layer4 error-limit 1 on-error mark-down"


def service_piece(service, listen, bind, body_megabytes, first, second=None):
    """The text of the piece; nothing for a service without a container.

    `first` and `second` are containers: colour and port. Where the second has a `share`, it gets so many percent of the requests;
    else it stands by.
    """
    if not first:
        return ""
    share = (second or {}).get("share")
    weights = ("", "")
    if share:
        weights = (f" weight {100 - share}", f" weight {share}")
    elif second:
        weights = (ONE_ERROR, " backup")
    text = LISTEN.format(service=service, listen=listen, bind=bind, body_bytes=body_megabytes * 1024 * 1024)
    text += TELL.format(service=service, file=DEPLOYMENTS, path=DEPLOYMENT_PATH)
    for server, weight in zip([first, second] if second else [first], weights):
        text += "  server {colour} 127.0.0.1:{port}".format(**server) + weight + "\n"
    return text


def put_piece(name, text, proxy, certificate="", lock=None):
    """Put a piece in place and reload the proxy, under a deployment's lock; the processes that served before, which finish their requests.

    `proxy`: pieces (their folder), config (the proxy's own file), shared (the text that all services share), certificate_file (where
    chain and key of the piece are kept; its name changes with the content). `lock` is a fence of deploy_lock. Raises `Lost`,
    `proxy_config.Refused`, `OSError`: the old configuration is in place then.
    """
    with proxy_config.alone(proxy["pieces"]):
        fence(lock)
        config, kept = proxy["config"], proxy["config"] + ".before-mlkit"
        if os.path.exists(config) and not os.path.exists(kept):
            shutil.copy2(config, kept)
        new_certificate = text and certificate and not os.path.exists(proxy["certificate_file"])
        if new_certificate:
            os.makedirs(os.path.dirname(proxy["certificate_file"]), mode=0o700, exist_ok=True)
            proxy_config.write_whole(proxy["certificate_file"], certificate, 0o600)
        if not os.path.exists(DEPLOYMENTS):
            proxy_config.write_whole(DEPLOYMENTS, "")
        try:
            pieces = {proxy_config.SHARED: proxy["shared"], name + ".cfg": text}
            before = proxy_config.put(config, proxy["pieces"], pieces)
        except proxy_config.Refused:
            if new_certificate:
                os.remove(proxy["certificate_file"])
            raise
        remove_certificates(os.path.dirname(proxy["certificate_file"]), name, text)
        return before


def lead_clients(want, listen, first, second=None):
    """Lead the clients of a service to these containers, or to none; what `put_piece` gives and raises.

    `want` is what a stroke was asked: service, proxy (as for `put_piece`, with bind and body_megabytes), certificate and fence.
    """
    proxy = want["proxy"]
    text = service_piece(want["service"], listen, proxy["bind"], proxy["body_megabytes"], first, second)
    return put_piece(want["service"], text, proxy, want["certificate"], want["fence"])


def remove_certificates(folder, name, text):
    "Those of the piece that its text does not name any more: the running proxy has read them."
    mine = re.escape(name) + r"-[0-9a-f]{12}\.pem"
    for each in os.listdir(folder) if os.path.isdir(folder) else []:
        if re.fullmatch(mine, each) and os.path.join(folder, each) not in text:
            os.remove(os.path.join(folder, each))
