"The running proxy's own words, over its socket."

import csv
import io

from .proxy_config import SOCKET, tell


def rows(path=SOCKET):
    "The proxy's own table, a dict for each frontend, backend and server. Raises `OSError` if none runs."
    return csv.DictReader(io.StringIO(tell(path, "show stat").lstrip("# ")))
