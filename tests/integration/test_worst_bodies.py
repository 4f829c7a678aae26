"The worst body of each codec, in a group of 512 MB with two workers and the default settings: no worker is lost."

import gzip
import io

import pyarrow as pa
import pytest
from eventually import eventually
from live_server import LiveServer, request, save_model
from memory_group import MEGABYTE, Group

from mlkit.serve.formats.negotiation import ARROW, CSV, JSON, NDJSON

try:
    from compression import zstd
except ImportError:
    from backports import zstd

MOST = 16 * MEGABYTE  # of a body
INFLATED = 63 * MEGABYTE
ROW = b'{"distance":3,"carrier":"AA"}'


def fill(begin, piece, end, size):
    return begin + piece * ((size - len(begin) - len(end)) // len(piece)) + end


def stream(table, **options):
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, **options) as writer:
        writer.write_table(table)
    return sink.getvalue()


def shared_text(rows, size):
    "A table whose every cell is one and the same long text."
    offsets = pa.array([0, size] * rows, pa.int32()).buffers()[1]
    dictionary = pa.array(["x" * size])
    carrier = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), dictionary)
    assert offsets
    return stream(pa.table({"distance": [1] * rows, "temp": [1.0] * rows, "carrier": carrier}))


def wide(rows, columns):
    "Many columns that nobody knows."
    return stream(pa.table({f"c{n}": pa.nulls(rows) for n in range(columns)}))


BODIES = {
    "json: rows of nothing": (JSON, lambda size: fill(b'{"rows":[', b"{},", b"{}]}", size)),
    "json: rows without end": (JSON, lambda size: fill(b'{"rows":[', ROW + b",", ROW + b"]}", size)),
    "json: columns of numbers": (JSON, lambda size: fill(b'{"columns":{"distance":[', b"1,", b"1]}}", size)),
    "json: columns of nothing": (
        JSON,
        lambda size: fill(b'{"columns":{"temp":[', b"null,", b"null]}}", size),
    ),
    "json: one text": (JSON, lambda size: fill(b'{"rows":[{"distance":1,"carrier":"', b"x", b'"}]}', size)),
    "json: one text beyond the BMP": (
        JSON,
        lambda size: fill('{"rows":[{"distance":1,"carrier":"\U0001f4a5'.encode(), b"x", b'"}]}', size),
    ),
    "json: unknown keys": (
        JSON,
        lambda size: (
            b'{"rows":[{'
            + b",".join(b'"k%d":1' % n for n in range(size // 13))
            + b',"distance":1,"carrier":"AA"}]}'
        ),
    ),
    "json: brackets": (JSON, lambda size: b'{"rows":' + b"[" * (size - 20)),
    "json: wrong numbers": (JSON, lambda size: fill(b'{"columns":{"distance":[', b'"",', b'""]}}', size)),
    "ndjson: empty objects": (NDJSON, lambda size: fill(b"", b"{}\n", b"", size)),
    "ndjson: empty lines": (NDJSON, lambda size: fill(ROW + b"\n", b"\n", b"", size)),
    "ndjson: rows": (NDJSON, lambda size: fill(b"", ROW + b"\n", b"", size)),
    "csv: short rows": (CSV, lambda size: fill(b"distance,temp,carrier\n", b"1,,\n", b"", size)),
    "csv: empty lines": (CSV, lambda size: fill(b"distance,temp,carrier\n", b"\n", b"", size)),
    "csv: one line": (CSV, lambda size: fill(b"distance,temp,carrier\n1", b",", b"\n", size)),
    "csv: many columns": (CSV, lambda size: fill(b"distance", b",a", b"\n1", size)),
    "csv: one cell": (CSV, lambda size: fill(b'distance,temp,carrier\n1,1,"', b"x", b'"\n', size)),
    "csv: quotes": (CSV, lambda size: fill(b"distance,temp,carrier\n1,1,", b'"', b"\n", size)),
    "arrow: one long text, 100,000 times": (ARROW, lambda size: shared_text(100_000, 60_000)),
    "arrow: many columns": (ARROW, lambda size: wide(1000, 10_000)),
    "labels: nothing": ("labels", lambda size: fill(b'{"labels":[', b"{},", b"{}]}", size)),
    "labels: a string": ("labels", lambda size: fill(b'{"labels":[{"id":"', b"x", b'"}]}', size)),
}


@pytest.fixture(scope="module")
def group():
    group = Group(512 * MEGABYTE)
    yield group
    group.remove()


@pytest.fixture(scope="module")
def server(tmp_path_factory, group):
    folder = tmp_path_factory.mktemp("worst")
    (folder / "predictions").mkdir()
    server = LiveServer(
        *(save_model(folder / "model"), folder),
        before=group.before,
        MLKIT_PREDICTIONS=folder / "predictions",
    )
    yield server
    server.stop()


def ask_in_turn(server, group, path, body, kind, **headers):
    workers = server.both_workers()
    for _ in range(4):  # whichever worker takes it
        answer = server.send(request(body, path, content_type=kind, **headers))
        assert answer.startswith(b"HTTP/1.1 "), (answer[:200], server.log.read_text()[-1000:])
    assert eventually(lambda: server.get("/readyz")[0] == 200)
    assert {worker.pid for worker in server.workers()} == workers and group.killed() == 0


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("packed", ["as it is", "gzip", "zstd"])
def test_no_body_kills_a_worker(server, group, name, packed):
    kind, make = BODIES[name]
    path, kind = ("/labels", JSON) if kind == "labels" else ("/predict", kind)
    body = make(MOST if packed == "as it is" else INFLATED)
    if packed == "gzip":
        body = gzip.compress(body, 1)
    elif packed == "zstd":
        body = zstd.compress(body, 1)
    if len(body) > MOST:
        body = body[:MOST]  # refused as cut off, at whatever that costs
    ask_in_turn(
        server, group, path, body, kind, **({} if packed == "as it is" else {"Content_Encoding": packed})
    )


def test_contributions_of_many_rows_are_refused(server, group):
    body = zstd.compress(b"distance,temp,carrier\n" + b"3,1,AA\n" * 100_000)
    assert len(body) < 5000
    asked = request(body, "/predict?explain=1", content_type=CSV, Content_Encoding="zstd")
    assert server.send(asked).startswith(b"HTTP/1.1 413 ")
