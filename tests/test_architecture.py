"The house has floors: a module imports only from below. See the table of modules in docs/architecture.md."

import ast
import json
import subprocess
import sys

import pytest

FLOORS = [
    {"errors", "missing", "settings", "secrecy", "redaction", "supervisor", "notebook_tests"},
    {"store", "digest"},
    {"data.template", "data.source", "data.query", "data.fingerprint", "data.expectation"}
    | {
        "dataset",
        "split",
        "column",
        "json_mistakes",
        "json_body",
        "signature",
        "parameters",
        "provenance",
        "evidence",
    },
    {"features", "flavors.flavour", "flavors.lightgbm", "bundle"},
    {
        "measures",
        "slices",
        "worth",
        "judgement",
        "figures",
        "report",
        "gate",
        "training_rows",
        "registry",
        "run",
        "runs",
        "kernel",
        "runner",
        "reproduction",
        "trace",
        *("sweep", "search", "workers", "sweeper", "sweep_report"),
        *("serve.tally", "serve.telemetry", "serve.append_log", "serve.prediction_log"),
        *("serve.labels", "serve.access_log", "log_tables", "compaction", "predictions"),
        *("serve.plain", "serve.predictor", "serve.options", "serve.service"),
        *("serve.openapi", "serve.pages", "serve.app", "serve.asgi", "serve.worker", "serve.borrowed"),
        *("serve.rates", "serve.access"),
        *("serve.inflate", "serve.csv_text", "serve.arrow_stream", "serve.arrow", "serve.codecs"),
    },
    {
        "image_archive",
        "sbom",
        "builder",
        "signing",
        "promotion",
        "release",
        "local",
        "container",
        "deploy",
        "hooks",
        "fleet",
        "remote",
        "heartbeat",
        "progress",
        "card",
        "examples.flights",
    },
    {"command", "cli_notebooks", "cli_runs", "cli_models", "cli_deploys", "cli_fleet", "cli_keys", "cli"},
]
FLOOR = {module: number for number, floor in enumerate(FLOORS) for module in floor}


def modules(root):
    for path in sorted((root / "mlkit").rglob("*.py")):
        if path.name not in ("__init__.py", "__main__.py", "_modidx.py"):
            yield path, ".".join(path.relative_to(root / "mlkit").with_suffix("").parts)


def imports_of(path, module):
    "The modules of mlkit that a file imports, also inside functions."
    package = ["mlkit", *module.split(".")[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            parts = [*start, *(node.module or "").split(".")] if node.module else start
            if parts[:1] == ["mlkit"]:
                name = ".".join(parts[1:])
                names = [name] if name in FLOOR else [".".join([*parts[1:], a.name]) for a in node.names]
                yield from (n for n in names if n in FLOOR)


def test_every_module_has_a_floor(root):
    assert {module for _, module in modules(root)} == set(FLOOR)


def test_a_module_imports_only_from_its_floor_and_below(root):
    wrong = [
        f"{module} (floor {FLOOR[module]}) imports {other} (floor {FLOOR[other]})"
        for path, module in modules(root)
        for other in imports_of(path, module)
        if FLOOR[other] > FLOOR[module]
    ]
    assert not wrong, "\n".join(wrong)


def test_a_module_fits_its_reader(root):
    lines = {module: len(path.read_text().splitlines()) for path, module in modules(root)}
    long = [f"{module}: {n}" for module, n in lines.items() if n > 400]
    assert not long, long


def test_the_server_imports_little():
    allowed = {"mlkit", "numpy", "msgspec", "flask", "prometheus_client"}
    flask_brings = {
        "typing_extensions",
        "werkzeug",
        "jinja2",
        "markupsafe",
        "itsdangerous",
        "click",
        "blinker",
    }
    code = """
import sys, json, sysconfig
before = set(sys.modules)
import mlkit.serve.app, mlkit.flavors.lightgbm
mlkit.flavors.lightgbm.library()
tops = {name.partition(".")[0] for name in set(sys.modules) - before}
print(json.dumps(sorted(t for t in tops if t not in sys.stdlib_module_names and not t.startswith("_"))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout)) <= allowed | flask_brings


@pytest.mark.parametrize("name", ["lib_path", "nbs_path"])
def test_settings_and_nbdev_agree(root, name):
    import tomllib
    from configparser import ConfigParser

    ini = ConfigParser(interpolation=None)
    ini.read(root / "settings.ini")
    assert ini["package"][name] == tomllib.loads((root / "pyproject.toml").read_text())["tool"]["nbdev"][name]


def pins(path):
    lines = [line for line in path.read_text().splitlines() if "==" in line]
    return {line.split("==")[0].strip(): line.split("==")[1].split()[0] for line in lines if ";" not in line}


def test_the_image_runs_what_was_tested(root):
    ours, image = pins(root / "requirements.lock"), pins(root / "deploy/image/requirements.lock")
    assert image and all(ours.get(name, version) == version for name, version in image.items())


def test_the_locks_belong_to_no_machine(root):
    for lock in ("requirements.lock", "deploy/image/requirements.lock"):
        for line in (root / lock).read_text().splitlines():
            assert not line.startswith("-") and "file:" not in line and "://" not in line, line
