"The house has rooms: who may import whom. See docs/architecture.md."

import ast
import collections
import json
import re
import subprocess
import sys

import pytest

import mlkit
from mlkit.provenance import GROUND
from mlkit.release.image import CODE
from mlkit.runs.record import REACHED

ROOMS = {  # who may import whom; the ground is open to all, and what is not here is forbidden
    "notebook": "",
    "data": "",
    "flavors": "",
    "new": "notebook data",
    "model": "flavors",
    "examples": "model",
    "validation": "data model flavors",
    "registry": "model validation",
    "runs": "notebook data flavors model validation registry",
    "sweeps": "notebook validation registry runs",
    "serve": "model",
    "monitoring": "model serve.logs",
    "custody": "notebook data model validation registry runs monitoring",
    "release": "model registry",
    "deploy": "model registry release",
}
ROOMS["testing"] = " ".join(ROOMS)
ROOMS["cli"] = " ".join(ROOMS)  # inside functions: a command that needs little starts quickly
SHOWS_SERVICE = {"serve.pages"}  # the wing that asks the service, as a client would
AT_THE_TOP = {"deploy.hooks"}  # what cli may import outside of functions: it imports nothing itself


def modules(root):
    for path in sorted((root / "mlkit").rglob("*.py")):
        if path.name not in ("__init__.py", "__main__.py", "_modidx.py"):
            yield path, ".".join(path.relative_to(root / "mlkit").with_suffix("").parts)


def imports_of(path, module, known, deep=True):
    "The modules of mlkit that a file imports; `deep`: also inside functions."
    package = ["mlkit", *module.split(".")[:-1]]
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if deep else tree.body:
        if isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            parts = [*start, *(node.module or "").split(".")] if node.module else start
            if parts[:1] == ["mlkit"]:
                name = ".".join(parts[1:])
                names = [name] if name in known else [".".join([*parts[1:], a.name]) for a in node.names]
                yield from (n for n in names if n in known)


@pytest.fixture(scope="session")
def imports(root):
    "Each module and what it imports."
    known = {module for _, module in modules(root)}
    return {module: sorted(set(imports_of(path, module, known))) for path, module in modules(root)}


def is_ground(module):
    return f"{module}.py" in GROUND


def may_import(module, other):
    if is_ground(other) or is_ground(module):
        return is_ground(other)
    room, others = module.split(".")[0], other.split(".")[0]
    if room == others == "serve":
        wing, spine = module.rpartition(".")[0], other.count(".") == 1
        return (
            not spine
            or wing == "serve"
            or (wing in SHOWS_SERVICE and other in ("serve.service", "serve.predictor"))
        )
    if room == others:
        return True
    return any(f"{other}.".startswith(f"{allowed}.") for allowed in ROOMS[room].split())


def test_every_module_is_in_a_room_or_on_the_ground(imports):
    assert [m for m in imports if not is_ground(m) and m.split(".")[0] not in ROOMS] == []
    assert {f"{m}.py" for m in imports if is_ground(m)} | {"__init__.py"} == set(GROUND)


def test_a_module_imports_only_what_the_table_of_rooms_allows(imports):
    wrong = [
        f"{m} imports {other}"
        for m, others in imports.items()
        for other in others
        if not may_import(m, other)
    ]
    assert wrong == []


def test_the_page_shows_the_table_that_is_held(root):
    rows = re.findall(r"^\| (.+?) \|.*\| ([^|]+) \|$", (root / "docs/architecture.md").read_text(), re.M)
    [ground] = [room for room, _ in rows if room.startswith("the ground")]
    shown = {re.sub(r"\[?`(\w+)`.*", r"\1", room): may for room, may in rows}
    assert {f"{name}.py" for name in re.findall(r"`(\w+)`", ground)} == set(GROUND) - {"__init__.py"}
    everyone = {"testing": "everyone", "cli": "everyone, inside functions; nobody imports it"}
    for room, may in ROOMS.items():
        assert shown[room] == everyone.get(room, ", ".join(may.split()) or "–"), room


def test_the_command_line_imports_what_a_command_needs_when_it_needs_it(root, imports):
    early = {
        other
        for path, module in modules(root)
        if module.startswith("cli.")
        for other in imports_of(path, module, imports, deep=False)
        if not is_ground(other) and not other.startswith("cli.")
    }
    assert early <= AT_THE_TOP


def books(root):
    "Each module's notebook."
    for path in sorted((root / "notebooks").rglob("*.ipynb")):
        sources = [
            "".join(c["source"]) for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"
        ]
        for found in filter(None, (re.search(r"^#\| *default_exp +(\S+)", s, re.M) for s in sources)):
            yield found[1], path.relative_to(root / "notebooks")


def test_a_notebook_stands_in_the_room_of_its_module_and_numbers_rise_along_imports(root, imports):
    book = dict(books(root))
    assert set(book) == set(imports)
    for module, path in book.items():
        number, _, file = path.stem.partition("_")
        assert [*path.parent.parts, file] == module.split(".") and number.isdigit(), path
        for other in imports[module]:
            if book[other].parent == path.parent:
                assert book[other].name < path.name, f"{path} imports {book[other]}"


def test_a_number_stands_once_in_a_room(root):
    numbers = [(path.parent, path.name[:2]) for path in (root / "notebooks").rglob("[0-9][0-9]_*.ipynb")]
    assert [where for where, times in collections.Counter(numbers).items() if times > 1] == []


def test_each_room_begins_with_a_page_without_code(imports, root):
    for room in {m.rpartition(".")[0] for m in imports}:
        [first, *_] = sorted((root / "notebooks").joinpath(*room.split(".") if room else ()).glob("*.ipynb"))
        assert first.name == f"00_{room.rpartition('.')[2] or 'mlkit'}.ipynb"
        assert {c["cell_type"] for c in json.loads(first.read_text())["cells"]} == {"markdown"}, first


def exported_cells(root):
    "The exported cells of all notebooks, with where they are."
    for path in sorted((root / "notebooks").rglob("*.ipynb")):
        for number, cell in enumerate(json.loads(path.read_text())["cells"]):
            source = "".join(cell["source"])
            if cell["cell_type"] == "code" and re.match(r"#\| *export", source):
                yield f"{path.relative_to(root)}, cell {number}", source


def test_an_exported_cell_is_a_screen_or_less_or_holds_one_thing(root):
    "What is longer is one class or one function, which cannot be cut; and even that ends."
    long = []
    for where, source in exported_cells(root):
        lines = len(source.splitlines())
        things = [
            n
            for n in ast.parse(source).body
            if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        ]
        if lines > 175 or (lines > 60 and len(things) > 1):
            long.append(f"{where}: {lines} lines, {len(things)} definitions")
    assert long == []


def reached(imports, *rooms):
    "The modules that these rooms need, themselves among them."
    found, waiting = set(), [m for m in imports if m.split(".")[0] in rooms]
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += imports[module]
    return found


def tops(modules):
    "Their rooms, and their files where they are in none."
    return {m.split(".")[0] if "." in m else f"{m}.py" for m in modules}


def test_a_run_is_stale_when_what_it_can_reach_has_changed_and_only_then(imports):
    assert tops(reached(imports, "runs")) | set(GROUND) | {"examples"} == set(REACHED)


def test_all_that_the_public_face_shows_counts_for_a_run(imports):
    assert tops(reached(imports, "errors")) <= set(REACHED)
    assert {home.split(".")[0] if "." in home else f"{home}.py" for home in mlkit.HOME.values()} <= set(
        REACHED
    )


def test_the_image_holds_what_the_server_imports_and_no_other_room(imports, root):
    assert tops(reached(imports, "serve", "flavors")) <= set(CODE) == {*GROUND, "flavors", "model", "serve"}
    sent = re.findall(r"^!mlkit/(\S+)$", (root / ".dockerignore").read_text(), re.M)
    assert sorted(sent) == sorted(CODE)


def test_a_module_fits_its_reader(root):
    lines = {module: len(path.read_text().splitlines()) for path, module in modules(root)}
    long = [f"{module}: {n}" for module, n in lines.items() if n > 400]
    assert not long, long


def test_who_deploys_a_release_does_not_wait_for_numpy():
    code = "import sys, mlkit.deploy.deployment, mlkit.deploy.status; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


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
