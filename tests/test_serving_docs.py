"docs/serving.md names each limit with its default, each metric with its labels, and each route."

import ast
import re
from dataclasses import fields

import pytest

from mlkit.serve.app import create_app
from mlkit.serve.metrics import telemetry
from mlkit.serve.options import Options
from mlkit.serve.service import Service


@pytest.fixture(scope="module")
def page(pytestconfig):
    return (pytestconfig.rootpath / "docs/serving.md").read_text()


def test_each_option_and_its_default(page):
    def shown(default):
        if default in (None, "", frozenset()):
            return "–"
        return f"`{int(default) if isinstance(default, bool) else default}`"

    options = [(f"MLKIT_{field.name.upper()}", shown(field.default)) for field in fields(Options)]
    assert re.findall(r"^\| `(MLKIT_\w+)` \| (\S+) \|", page, re.M) == options


def test_each_metric_and_its_labels(page):
    metrics = set()
    for call in ast.walk(ast.parse(open(telemetry.__file__).read())):
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") in ("counter", "gauge", "histogram"):
            name, _, *labels = [ast.literal_eval(argument) for argument in call.args[:3]]
            metrics.add(name + (f"{{{','.join(labels[0])}}}" if labels else ""))
    table = "\n".join(re.findall(r"^\| `mlkit_.*?\|", page, re.M))
    assert set(re.findall(r"`(\w+(?:\{[\w,]+\})?)`", table)) == metrics


def test_each_route(page, tmp_path):
    app = create_app(Service(Options(tmp_path)))
    hidden = {"/static/<path:name>"}
    routes = {
        f"{method} {rule.rule}"
        for rule in app.url_map.iter_rules()
        for method in rule.methods & {"GET", "POST"}
        if rule.rule not in hidden
    }
    named = set(re.findall(r"`((?:GET|POST) /\w*(?:\.json)?)`", page[: page.index("## Ask it")]))
    assert named == routes
