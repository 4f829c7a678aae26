"The live server keeps to its own OpenAPI document, whatever it is sent."

import json
import sys
from pathlib import Path

import pytest
from conftest import run
from live_server import LiveServer, save_model

TABLES = ("application/x-ndjson", "text/csv", "application/vnd.apache.arrow.stream")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    server = LiveServer(save_model(folder / "model"), folder, MLKIT_PREDICTIONS=folder / "predictions")
    yield server
    server.stop()


def check(server, folder, document, *options):
    "Run schemathesis on a document."
    (folder / "openapi.json").write_text(json.dumps(document))
    schemathesis = Path(sys.executable).with_name("schemathesis")
    bounds = [
        "--phases",
        "examples,coverage,fuzzing",
        "--max-examples",
        "10",
        "--max-time",
        "12",
        "--seed",
        "1",
    ]
    address = ["--url", f"http://127.0.0.1:{server.port}", "--no-color"]
    run(schemathesis, "run", folder / "openapi.json", *address, *bounds, *options, cwd=folder)


def test_the_server_does_what_its_document_says(server, tmp_path):
    "All checks. JSON Schema cannot say that columns are equally long, nor what is in bytes: see the next test."
    document = json.loads(server.get("/openapi.json")[1])
    content = document["paths"]["/predict"]["post"]["requestBody"]["content"]
    by_rows = content["application/json"]["schema"]["oneOf"][0]
    document["paths"]["/predict"]["post"]["requestBody"]["content"] = {
        "application/json": {"schema": by_rows}
    }
    check(server, tmp_path, document)


def test_no_body_of_any_type_surprises_the_server(server, tmp_path):
    "The document has the other types in words only: see mlkit.serve.pages.openapi."
    document = json.loads(server.get("/openapi.json")[1])
    predict = document["paths"]["/predict"]["post"]
    tables = {name: {"schema": {"type": "string"}} for name in TABLES}
    predict["requestBody"]["content"] |= tables
    predict["responses"]["200"]["content"] |= tables
    check(server, tmp_path, document, "--exclude-checks", "positive_data_acceptance")
