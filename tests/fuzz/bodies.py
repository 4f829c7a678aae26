"""Fuzz one codec: `python tests/fuzz/bodies.py json --seconds 60`.

What must hold for every body: it is refused with a 4xx error of ours, or it is accepted and its columns are what a
slow, plain reader makes of it. And nothing takes more memory than the limit. A body that breaks this is kept in the
folder `--findings`; `--body FILE` tries it again.
"""

import argparse
import contextlib
import csv
import gzip
import io
import json
import math
import struct
import sys
import tempfile
from pathlib import Path

import atheris
import numpy as np

with atheris.instrument_imports(include=["mlkit"]):
    from mlkit.errors import MlkitError
    from mlkit.missing import MISSING
    from mlkit.model.column import Column
    from mlkit.model.signature import Output, Signature
    from mlkit.serve.formats import negotiation

# Words that a mutation of bytes would hardly find.
WORDS = [
    *(
        '{"rows":[',
        '{"columns":{',
        "]}",
        '"n":',
        '"i":',
        '"o:p":',
        '"b":',
        '"c":',
        '"free":',
        '"AA"',
        '"a:b"',
        '"a\\u003ab"',
    ),
    *(
        "null",
        "true",
        "NaN",
        "Infinity",
        "1e999",
        "-0.0",
        "9007199254740993",
        "1.5",
        '"\\ud800"',
        "\\u003a",
        "{}",
        "[]",
    ),
    *("n,i,c", '""', "\r\n", "1_0", "inf", "nan", "\ufeff", ";q=", "*/*", "text/csv", "application/*"),
]
MAX_ROWS, MAX_INFLATED, MEGABYTES = 50, 100_000, 700
NUMBERS = (
    Column("n", "number"),
    Column("i", "integer"),
    Column("o:p", "number", missing=True),
    Column("b", "boolean", missing=True),
)
CATEGORIES = (
    Column("c", "category", levels=("AA", "a:b", 'q"', "ü")),
    Column("free", "category", missing=True, unseen="missing"),
)
TABLE, RAW = Signature(NUMBERS + CATEGORIES, Output("y", "value")), Signature(NUMBERS, Output("y", "value"))
ROWS = [
    {"n": 1.5, "i": 2, "o:p": None, "b": True, "c": "AA", "free": "x"},
    {"n": -1e300, "i": 9007199254740991, "c": "a:b", "free": None},
    {"n": 0, "i": -3, "o:p": 0.1, "b": False, "c": "ü", "free": 'a\\u003a,"b"'},
]


np.seterr(all="raise")


class Refused(Exception):
    "What the plain readers say of a body that nobody should accept."


def once(pairs):
    if len(dict(pairs)) != len(pairs):
        raise Refused("a key twice")
    return dict(pairs)


def loads(data):
    def constant(_):
        raise Refused("a constant")

    return json.loads(data.decode(), object_pairs_hook=once, parse_constant=constant)


def plain_json(body):
    request = loads(body)
    (member,) = request
    table = request[member]
    if member == "rows":
        return table
    assert member == "columns"
    (length,) = set(map(len, table.values()))
    return [{name: cells[row] for name, cells in table.items()} for row in range(length)]


def plain_ndjson(body):
    return [loads(line) for line in body.removesuffix(b"\n").split(b"\n")]


def plain_csv(body):
    "A quoted cell is one match of a regular expression's worth of hand-written states."
    text, rows, row, cell, at, begin = body.decode("utf-8-sig"), [], [], "", 0, 0
    while at < len(text):
        if text[at] == '"':
            at += 1
            while text[at] != '"' or text[at : at + 2] == '""':
                cell += text[at]
                at += 2 if text[at] == '"' else 1
            at += 1
        while at < len(text) and text[at] not in ",\r\n":
            cell += text[at]
            at += 1
        row, cell = [*row, cell], ""
        if at < len(text) and text[at] == ",":
            at += 1
            if at == len(text):
                row.append("")
            continue
        rows, row = [*rows, None if at == begin else row], []  # a line without anything, not even quotes
        at += 2 if text[at : at + 2] == "\r\n" else 1
        begin = at
    if row:
        rows.append(row)
    if rows[-1] is None:  # a blank line at the end is not a row
        rows.pop()
    header, *lines = rows
    assert len(set(header)) == len(header)
    return [{n: csv_cell(n, c) for n, c in zip(header, line, strict=True)} for line in lines]


def csv_cell(name, cell):
    column = {column.name: column for column in TABLE.inputs}[name]
    kind = column.type
    if kind == "category":
        return (
            None if not cell or (column.missing and cell in MISSING and cell not in column.levels) else cell
        )
    if cell in MISSING:
        return None
    if kind == "boolean":
        return {"true": True, "1": True, "false": False, "0": False}[cell.lower()]
    return None if math.isnan(number := float(cell)) else number


def plain_arrow(body):
    import pyarrow

    try:
        table = pyarrow.ipc.open_stream(body).read_all()
        table.validate(full=True)
    except (pyarrow.ArrowException, OSError):  # what only one of the two refuses is nobody's wrong answer
        return None
    rows = [{name: cell for name, cell in row.items()} for row in table.to_pylist()]
    return [{n: None if c != c else c for n, c in row.items()} for row in rows]


def plain_float64(body):
    width = len(NUMBERS)
    rows = [struct.unpack_from(f"<{width}d", body, at) for at in range(0, len(body), 8 * width)]
    cell = {column.name: bool if column.type == "boolean" else float for column in NUMBERS}
    names = [column.name for column in NUMBERS]
    return [{n: None if c != c else cell[n](c) for n, c in zip(names, row, strict=True)} for row in rows]


def same(signature, columns, rows):
    "Whether the columns are these rows, and nothing in them is to be refused."
    for column in signature.inputs:
        cells = columns[column.name].tolist()
        assert len(cells) == len(rows), "another number of rows"
        for ours, row in zip(cells, rows, strict=True):
            plain = row.get(column.name)
            assert column.problem(plain) is None, f"{column.name} accepts {plain!r}"
            if column.type != "category":
                plain, ours = (math.nan if plain is None else float(plain)), float(ours)
                assert plain == ours or (plain != plain and ours != ours), f"{ours!r} is not {plain!r}"
            else:
                assert plain == ours, f"{ours!r} is not {plain!r}"
    names = {column.name for column in signature.inputs}
    assert not any(row.keys() - names for row in rows), "an unknown column"


def table_of(media_type, plain, signature=TABLE):
    def check(body):
        columns = negotiation.read_columns(signature, body, media_type, "", MAX_ROWS, MAX_INFLATED)
        if (rows := plain(body)) is not None:
            same(signature, columns, rows)

    return check


def inflated_by(encoding, plain):
    def check(body):
        ours = negotiation.inflate(body, encoding, MAX_INFLATED)
        assert len(ours) <= MAX_INFLATED and ours == plain(body)

    return check


def accepted(accept):
    "A header: the answer's type is one that we have and that the header does not exclude."
    text = accept.decode("latin-1")
    kind = negotiation.answer_type.__wrapped__(text, "text/csv")
    assert f"{kind};q=0," not in text.lower() + ","


def csv_seeds():
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [column.name for column in TABLE.inputs])
    writer.writeheader()
    writer.writerows(ROWS)
    return [text.getvalue().encode(), b"\xef\xbb\xbfn,i,c\n1,2,AA\n"]


def arrow_seeds():
    import pyarrow

    names = [column.name for column in TABLE.inputs]
    plain = pyarrow.table({name: [row.get(name) for row in ROWS] for name in names})
    coded = plain.set_column(4, "c", plain["c"].dictionary_encode())
    for table in plain, coded, plain.set_column(5, "free", plain["free"].cast("large_string")):
        sink = io.BytesIO()
        with pyarrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
        yield sink.getvalue()


def seeds_of(codec):
    import zlib

    body = json.dumps({"rows": ROWS}).encode()
    columns = json.dumps({"columns": {c.name: [r.get(c.name) for r in ROWS] for c in TABLE.inputs}}).encode()
    return {
        "json": [body, columns],
        "ndjson": [b"\n".join(json.dumps(row).encode() for row in ROWS)],
        "csv": csv_seeds(),
        "arrow": list(arrow_seeds()),
        "float64": [struct.pack("<8d", 1, 2, math.nan, 1, 1.5, -3, 0, math.nan)],
        "gzip": [gzip.compress(body), zlib.compress(body), gzip.compress(bytes(200_000))],
        "zstd": [zstd().compress(body), zstd().compress(bytes(200_000))],
        "accept": [b"text/csv;q=0.5, application/*;q=0.1, */*;q=0", b"application/json"],
    }[codec]


def zstd():
    try:
        from compression import zstd
    except ImportError:
        from backports import zstd
    return zstd


CHECKS = {
    "json": table_of(negotiation.JSON, plain_json),
    "ndjson": table_of(negotiation.NDJSON, plain_ndjson),
    "csv": table_of(negotiation.CSV, plain_csv),
    "arrow": table_of(negotiation.ARROW, plain_arrow),
    "float64": table_of(negotiation.FLOAT64, plain_float64, RAW),
    "gzip": inflated_by("gzip", gzip.decompress),
    "zstd": inflated_by("zstd", lambda body: zstd().decompress(body)),
    "accept": accepted,
}


def try_body(check, body):
    try:
        check(body)
    except MlkitError as error:
        assert 400 <= error.http_status < 500, repr(error)
        json.dumps([str(error), getattr(error, "problems", [])], ensure_ascii=False).encode()


def hexed(word):
    return "".join(f"\\x{byte:02x}" for byte in word.encode())


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("codec", choices=CHECKS)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--findings", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--body", type=Path, help="try one body instead")
    asked = parser.parse_args()
    check = CHECKS[asked.codec]
    if asked.body:
        return try_body(check, asked.body.read_bytes())
    with tempfile.TemporaryDirectory() as corpus:
        bodies = Path(corpus, "bodies")
        bodies.mkdir()
        for number, seed in enumerate(seeds_of(asked.codec)):
            try_body(check, seed)
            Path(bodies, str(number)).write_bytes(seed)
        words = Path(corpus, "words")
        words.write_text("".join(f'"{hexed(word)}"\n' for word in WORDS))
        options = [
            f"-dict={words}",
            f"-max_total_time={asked.seconds}",
            "-max_len=4096",
            f"-rss_limit_mb={MEGABYTES}",
            "-timeout=5",
        ]
        found = f"-artifact_prefix={asked.findings}/{asked.codec}-"
        atheris.Setup([sys.argv[0], str(bodies), *options, found], lambda body: try_body(check, body))
        with contextlib.suppress(SystemExit):
            atheris.Fuzz()


if __name__ == "__main__":
    main()
