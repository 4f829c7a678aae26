"The running proxy's own words, over its socket."

import csv
import io
import socket

SOCKET = "/run/haproxy.sock"


def tell(path, command):
    "What the proxy answers to a command. Raises `OSError` if none runs."
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(5)
        link.connect(path)
        link.sendall(command.encode() + b"\n")
        return b"".join(iter(lambda: link.recv(65536), b"")).decode()


def rows(path=SOCKET):
    "The proxy's own table, a dict for each frontend, backend and server. Raises `OSError` if none runs."
    return csv.DictReader(io.StringIO(tell(path, "show stat").lstrip("# ")))
