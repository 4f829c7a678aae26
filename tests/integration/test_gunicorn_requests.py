"gunicorn's own request files, valid and invalid, get from our worker what gunicorn's asgi worker answers."

import re
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import pytest
from live_server import LiveServer, request, save_model

SILENCE = 1  # seconds


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    "The files of the very version that serves, from its source distribution: name → bytes."
    folder, wanted = tmp_path_factory.mktemp("gunicorn"), f"gunicorn=={version('gunicorn')}"
    options = ["--no-deps", "--no-binary", ":all:", "--no-build-isolation", "-q", "-d", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "download", *options, wanted], check=True, timeout=300)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        found = [member for member in archive if re.search(r"tests/requests/.*\.http$", member.name)]
        return {
            member.name.split("requests/")[1]: _real(archive.extractfile(member).read()) for member in found
        }


def _real(text):
    "As gunicorn's tests read them: line breaks are layout, escapes are the bytes."
    data = text.replace(b"\n", b"").replace(b"\\r\\n", b"\r\n")
    data = data.replace(b"\\0", b"\0").replace(b"\\n", b"\n").replace(b"\\t", b"\t")
    # HTTP/1.1 wants a Host, and so do we; gunicorn does without.
    return (
        data if b"host:" in data.lower() else data.replace(b" HTTP/1.1\r\n", b" HTTP/1.1\r\nHost: test\r\n")
    )


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    model = save_model(tmp_path_factory.mktemp("model"))
    ours = LiveServer(model, tmp_path_factory.mktemp("ours"), workers=1)
    shipped = LiveServer(model, tmp_path_factory.mktemp("shipped"), workers=1, options=["-k", "asgi"])
    yield ours, shipped
    ours.stop()
    shipped.stop()


def statuses(server, data, before=b""):
    "The status lines that come back; `before` is a request that the worker knows and has answered."
    with server.socket() as client:
        if before:
            client.sendall(before)
            assert client.recv(65536).startswith(b"HTTP/1.1 200")
        client.sendall(data)
        client.settimeout(SILENCE)  # many requests are unfinished: the server waits for more
        received = b""
        try:
            while piece := client.recv(65536):
                received += piece
        except (TimeoutError, ConnectionResetError):
            pass
        return re.findall(rb"HTTP/1.1 (\d+) ", received)


def test_gunicorns_own_request_files_are_answered_as_gunicorn_does(servers, files):
    ours, shipped = servers
    assert len(files) > 100

    def wrong(item):
        name, data = item
        expected = statuses(shipped, data)
        found = statuses(ours, data), statuses(ours, data, before=request())
        return None if found == (expected, expected) else (name, expected, found)

    with ThreadPoolExecutor(32) as pool:
        assert not [line for line in pool.map(wrong, files.items()) if line]
