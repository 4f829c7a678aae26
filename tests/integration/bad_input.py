"""What the server answers to each mistake: the page docs/bad-input.md, made by asking a real server.

    python tests/integration/bad_input.py

writes it; test_bad_input.py fails when the page says another thing than what is answered today.
"""

import gzip
import json
import re
import socket
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from eventually import eventually
from live_server import ROOT, LiveServer, read_all, request, save_model

from mlkit.serve.auth.keys import add_key, make_key

PAGE = ROOT / "docs/bad-input.md"
CSV = "text/csv"
GOOD = request()
MILLION = b'{"rows":[' + b",".join([b'{"distance":3,"carrier":"AA"}'] * 1_000_000) + b"]}"
LONG_BATCH = request(b"distance,temp,carrier\n" + b"3,1,AA\n" * 90_000, content_type=CSV)
LIMITS = {"MLKIT_CLIENT_SECONDS": 2, "MLKIT_MAX_CONNECTIONS": 20, "MLKIT_MAX_WAITING": 4}


# The servers ---------------------------------------------------------------------------------------------------


class Servers:
    "One that everybody may ask, one with API keys, one without a model."

    def __init__(self, folder: Path):
        for name in ("open", "keyed", "empty"):
            (folder / name).mkdir()
        self.keys = {name: _key(folder / "keys", name, *more) for name, *more in KEYS}
        model, self._started = save_model(folder / "model"), []
        self.open = self._start(model, folder / "open", **LIMITS)
        self.keyed = self._start(model, folder / "keyed", MLKIT_KEYS=folder / "keys")
        self.empty = self._start("/no/model", folder / "empty", ready="/livez")

    def _start(self, *where, **options) -> LiveServer:
        self._started.append(LiveServer(*where, workers=1, **options))
        return self._started[-1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for server in self._started:
            server.stop()


KEYS = [("shop", "predict"), ("outcomes", "labels"), ("trial", "predict", "1/h")]


def _key(path: Path, name: str, scope: str, rate: str = "") -> str:
    secret, line = make_key(name, (scope,), rate)
    add_key(path, line)
    return secret


# How an input is sent ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BadInput:
    "One line of the page."

    what: str  # is wrong
    shown: str  # how the page shows what is sent
    send: Callable[[Servers], bytes]  # gives all that came back


def raw(what: str, shown: str, data: bytes, half_close: bool = False) -> BadInput:
    "Bytes on a connection of their own, and one answer."

    def send(on: Servers) -> bytes:
        with on.open.socket(timeout=60) as client:
            client.sendall(data)
            if half_close:
                client.shutdown(socket.SHUT_WR)
            return read_answer(client)

    return BadInput(what, shown, send)


def body(what: str, text: str) -> BadInput:
    "A body of JSON, short enough to be shown."
    return raw(what, code(text), request(text.encode()))


def twofold(what: str, shown: str, data: bytes) -> BadInput:
    "Bytes that somebody could take for two requests, and all that comes until the server closes."

    def send(on: Servers) -> bytes:
        with on.open.socket() as client:
            client.sendall(data)
            return read_all(client)

    return BadInput(what, shown, send)


def keyed(what: str, shown: str, path: str = "/predict", times: int = 1, **headers) -> BadInput:
    "A good request to the server with keys; `{shop}` in a header stands for the key of that name."

    def send(on: Servers) -> bytes:
        given = {name: value.format_map(on.keys) for name, value in headers.items()}
        for _ in range(times):
            with on.keyed.socket() as client:
                client.sendall(request(path=path, **given))
                received = read_answer(client)
        return received

    return BadInput(what, shown, send)


def one_connection_more(on: Servers) -> bytes:
    with ExitStack() as held:
        for _ in range(LIMITS["MLKIT_MAX_CONNECTIONS"]):
            _connected(on, held)
        with on.open.socket() as client:
            return read_all(client)


def behind_a_long_batch(on: Servers) -> bytes:
    "Of those who asked while the worker was busy, the first that was refused."
    with ExitStack() as held:
        *waiting, busy = [_connected(on, held) for _ in range(12)]
        while True:
            busy.sendall(LONG_BATCH[:-1])
            eventually(lambda: on.open.get("/livez")[0] == 200)  # all of it but the last byte has arrived
            busy.sendall(LONG_BATCH[-1:])
            for client in waiting:
                client.sendall(GOOD)
            answers = [read_answer(client) for client in (busy, *waiting)]
            if refused := [answer for answer in answers if answer.startswith(b"HTTP/1.1 503")]:
                return refused[0]


def _connected(on: Servers, held: ExitStack) -> socket.socket:
    "A connection that a worker has."
    client = held.enter_context(on.open.socket(timeout=60))
    client.sendall(GOOD)
    read_answer(client)
    return client


def no_model(on: Servers) -> bytes:
    with on.empty.socket() as client:
        client.sendall(GOOD)
        return read_answer(client)


def read_answer(client: socket.socket) -> bytes:
    "One answer, or what came before the server closed."
    received = b""
    while not (gap := received.find(b"\r\n\r\n") + 4) > 3 or len(received) < gap + _length(received):
        if not (piece := client.recv(65536)):
            break
        received += piece
    return received


def _length(received: bytes) -> int:
    return int(re.search(rb"(?i)\r\ncontent-length: (\d+)", received)[1])


# The inputs ----------------------------------------------------------------------------------------------------


def code(text: str) -> str:
    return f"`{text}`"


def changed(old: str, new: str, whole: bytes = GOOD) -> bytes:
    return whole.replace(old.encode(), new.encode())


PACKED = gzip.compress(GOOD.partition(b"\r\n\r\n")[2], mtime=0)
LENGTH = f"Content-Length: {_length(GOOD)}"

INPUTS = {
    "The values": [
        body("wrong type", '{"rows":[{"distance":"3","temp":1.5,"carrier":"AA"}]}'),
        body("a fraction for a whole number", '{"rows":[{"distance":3.5,"temp":1.5,"carrier":"AA"}]}'),
        body("a column is missing", '{"rows":[{"temp":1.5,"carrier":"AA"}]}'),
        body(
            "null for a column that must be there", '{"rows":[{"distance":null,"temp":1.5,"carrier":"AA"}]}'
        ),
        body("unknown column", '{"rows":[{"distance":3,"tmep":1.5,"carrier":"AA"}]}'),
        body("unseen level", '{"rows":[{"distance":3,"temp":1.5,"carrier":"ZZ"}]}'),
        body("NaN", '{"rows":[{"distance":3,"temp":NaN,"carrier":"AA"}]}'),
        body("infinity", '{"rows":[{"distance":3,"temp":1e999,"carrier":"AA"}]}'),
        body("a key twice", '{"rows":[{"distance":3,"temp":1.5,"temp":2,"carrier":"AA"}]}'),
        body("several things at once", '{"rows":[{"distance":"3","temp":1.5,"carrier":"ZZ"}]}'),
        raw(
            "a string for a number, CSV",
            "`distance,temp,carrier` ⏎ `3,warm,AA`",
            request(b"distance,temp,carrier\n3,warm,AA\n", content_type=CSV),
        ),
    ],
    "The body": [
        raw("empty body", "nothing", request(b"")),
        body("JSON that ends too early", '{"rows":[{"distance":3'),
        body("no rows", '{"rows":[]}'),
        body("one row without the list", '{"distance":3,"temp":1.5,"carrier":"AA"}'),
        raw("deep nesting", '`{"rows":` and 50,000 × `[`', request(b'{"rows":' + b"[" * 50_000)),
        raw("10⁶ rows", f"{len(MILLION):,} bytes", request(MILLION)),
        raw(
            "10⁶ rows, compressed",
            "the same as gzip",
            request(gzip.compress(MILLION, 1), Content_Encoding="gzip"),
        ),
        raw(
            "compression bomb",
            "200 MB of spaces as gzip",
            request(gzip.compress(b" " * 200_000_000), Content_Encoding="gzip"),
        ),
        raw("truncated gzip", "all but 9 bytes", request(PACKED[:-9], Content_Encoding="gzip")),
        raw("not gzip", "JSON with `Content-Encoding: gzip`", request(Content_Encoding="gzip")),
        raw("unknown encoding", "`Content-Encoding: br`", request(PACKED, Content_Encoding="br")),
        raw("wrong content type", "`Content-Type: text/html`", request(content_type="text/html")),
        raw(
            "wrong charset",
            "`Content-Type: text/csv; charset=utf-16`",
            request(content_type="text/csv; charset=utf-16"),
        ),
        raw("wrong Accept", "`Accept: image/png`", request(Accept="image/png")),
    ],
    "The length and the connection": [
        raw(
            "truncated body: the length is greater than what comes",
            "`Content-Length: 99` and 51 bytes",
            changed(LENGTH, "Content-Length: 99"),
        ),
        raw(
            "… and the client ends its side",
            "the same, then end of file",
            changed(LENGTH, "Content-Length: 99"),
            half_close=True,
        ),
        twofold(
            "wrong length: smaller than what comes",
            "`Content-Length: 50` and 51 bytes",
            changed(LENGTH, "Content-Length: 50"),
        ),
        raw(
            "a length that is not a number",
            "`Content-Length: fifty`",
            changed(LENGTH, "Content-Length: fifty"),
        ),
        twofold(
            "two lengths",
            "`Content-Length: 51`, `Content-Length: 3`",
            changed(LENGTH, f"{LENGTH}\r\nContent-Length: 3") + GOOD,
        ),
        twofold(
            "smuggling: both lengths",
            "`Content-Length: 51`, `Transfer-Encoding: chunked`",
            changed(LENGTH, f"{LENGTH}\r\nTransfer-Encoding: chunked") + GOOD,
        ),
        raw("slow client", "half of a head, then nothing", GOOD[:30]),
        raw("half-closed connection", "a whole request, then end of file", GOOD, half_close=True),
        BadInput("too many connections", "one more than `MLKIT_MAX_CONNECTIONS`", one_connection_more),
        BadInput(
            "too many wait", "more than `MLKIT_MAX_WAITING` while a batch is worked on", behind_a_long_batch
        ),
    ],
    "The key": [
        keyed("no key", "no `Authorization`"),
        keyed("wrong key", "`Authorization: Bearer mlkit_0000`", Authorization="Bearer mlkit_0000"),
        keyed(
            "key of another scope",
            "the key of `outcomes`, made for labels",
            Authorization="Bearer {outcomes}",
        ),
        keyed(
            "rate exceeded",
            "the second request with a key for `1/h`",
            times=2,
            Authorization="Bearer {trial}",
        ),
    ],
    "The route and the server": [
        raw("unknown route", "`POST /predictions`", request(path="/predictions")),
        raw("wrong method", "`GET /predict`", request(b"", method="GET")),
        raw("a head that is too long", "`GET /` and 5,000 × `a`", changed("/predict", "/" + "a" * 5000)),
        raw("HTTP/1.0", "`POST /predict HTTP/1.0`", changed("HTTP/1.1", "HTTP/1.0")),
        raw("not HTTP", "the first bytes of TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
        raw("labels, and no log to keep them", "`POST /labels`", request(b'{"labels":[]}', path="/labels")),
        BadInput("no model", "the server was started on an empty folder", no_model),
    ],
}


# The page ------------------------------------------------------------------------------------------------------

HEAD = """# How bad input is answered

Made by `python tests/integration/bad_input.py`, which sends each of these to a real server; a test fails when
the server answers anything else. The model has three inputs: `distance`, a whole number; `temp`, a number that may be
missing; `carrier`, which is `AA` or `UA`. The server waits 2 seconds for a request (`MLKIT_CLIENT_SECONDS=2`); all other
limits that an answer names are the defaults.

A refusal is `application/problem+json` (RFC 9457), see [serving.md](serving.md#errors). Shown are its `status`, its
`detail`, then in italics its `hint`, or what each of its `problems` says was expected, and the headers that matter.
What is not HTTP at all is refused before that, by one line of plain text, and the connection ends: no byte after it is read
as a request. Nothing is ever corrected or guessed: a request is answered as a whole, or refused as a whole.

"""


def page(on: Servers) -> str:
    "The whole page."
    lines = [HEAD]
    for title, inputs in INPUTS.items():
        lines.append(f"## {title}\n\n| what is wrong | sent | answer |\n|---|---|---|\n")
        for bad in inputs:
            lines.append(f"{line(bad, on)}\n")
        lines.append("\n")
    return "".join(lines).rstrip() + "\n"


SHOWN = ("Allow", "Connection", "Retry-After", "WWW-Authenticate")  # of the headers


def line(bad: BadInput, on: Servers) -> str:
    "The input's line of the page, as the server answers now."
    return f"| {bad.what} | {cell(bad.shown)} | {cell(in_words(bad.send(on)))} |"


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def in_words(received: bytes) -> str:
    "All answers in what came back."
    words = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        size = _length(head)
        words.append(_one_in_words(head.decode("latin-1").split("\r\n"), rest[:size].decode()))
        received = rest[size:]
    return "; then ".join(words) or "closed without an answer"


def _one_in_words(head: list[str], text: str) -> str:
    status = re.match(r"HTTP/1\.[01] (\d+)", head[0])[1]
    if "Content-Type: text/plain" in head:
        words = [text]
    elif status == "200":
        words = ["answered as usual"]
    else:
        said = json.loads(text)
        expected = [problem["expected"] for problem in said.get("problems", ())]
        words = [said["detail"], *[f"*{hint}*" for hint in (said.get("hint"), "; ".join(expected)) if hint]]
    headers = [code(line) for line in head if line.partition(":")[0] in SHOWN]
    return "<br>".join([f"**{status}** {words[0]}", *words[1:], *headers])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, Servers(Path(folder)) as servers:
        PAGE.write_text(page(servers))
