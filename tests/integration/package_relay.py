"""A way to Debian's mirror for test hosts, which reach nothing beyond their fleet: a proxy for apt, on this machine.

It asks the mirrors that this machine's own apt uses, and nobody else.
"""

import subprocess
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


def mirrors(suite):
    "Lines for sources.list: this machine's mirror, asked for the suite."
    from conftest import ROOT

    command = f"source {ROOT}/deploy/debian.bash; suite={suite}; apt_sources"
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout


class PackageRelay:
    "Lets the hosts of a fleet use apt, for as long as the block runs."

    def __init__(self, fleet, host):
        self.fleet, self.host = fleet, host
        self.sources = mirrors(fleet.suite)
        allowed = {urlsplit(line.split()[1]).netloc for line in self.sources.splitlines()}

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                if urlsplit(self.path).netloc not in allowed:
                    return self.send_error(403, "not a mirror")
                try:
                    with urllib.request.urlopen(self.path, timeout=60) as answer:
                        body = answer.read()
                except urllib.error.HTTPError as error:
                    return self.send_error(error.code)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *words):
                pass

        gateway = fleet.address(host).rpartition(".")[0] + ".1"
        self.server = ThreadingHTTPServer((gateway, 0), Handler)

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        here = "http://{}:{}".format(*self.server.server_address)
        self.fleet.ssh(
            self.host,
            f"echo '{self.sources}' > /etc/apt/sources.list; rm -f /etc/apt/sources.list.d/*;"
            f' echo \'Acquire::http::Proxy "{here}"; Acquire::Languages "none";\' > /etc/apt/apt.conf.d/90relay',
        )
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
