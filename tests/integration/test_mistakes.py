"Whatever a person hands to a command, and wherever they run it: a sentence with what to do, and a code of its own."

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from quick_notebook import mlkit, quick_project

HERE = Path(__file__).parent
COMMANDS = [
    ["params", "work"],
    ["run", "work"],
    ["run", "work", "-p", "n", "1"],
    ["train"],
    ["validate"],
    ["sweep", "work", "-p", "n", "1,2", "--metric", "twice"],
    ["data"],
    ["runs"],
    ["show", "latest"],
    ["adopt", "work.ipynb"],
    ["diff", "latest", "latest"],
    ["reproduce", "latest"],
    ["trace", "latest"],
    ["register"],
    ["models"],
    ["promote", "quick@1", "--to", "champion"],
    ["demote", "quick", "champion"],
    ["card"],
    ["release"],
    ["deploy", "local"],
    ["deploy", "lab"],
    ["deploy", "lab", "--dry-run"],
    ["setup", "lab"],
    ["remove", "lab"],
    ["rollback", "lab"],
    ["stop", "local"],
    ["compact"],
    ["status", "local"],
    ["status", "lab"],
    ["status", "lab", "--hosts", "h1"],
    ["journal", "lab"],
    ["lock", "lab"],
    ["unlock", "lab"],
    ["logs", "lab"],
    ["exec", "lab", "--", "true"],
    ["key", "new", "shop", "--file", "keys"],
    ["key", "list", "--file", "keys"],
    ["key", "send", "lab"],
]
# What a person types by mistake where a name, a path or an id is wanted.
RUBBISH = [
    "",
    "../../etc/passwd",
    "a'b\"c\\d\te",
    "é 💥",
    "x" * 5000,
    "-",
    "quick@",
    "quick@99999999999999999999",
    "sha256:" + "0" * 64,
    "garbage.ipynb",
    "list.ipynb",
    "folder.ipynb",
]
TAKES_A_NAME = [
    ["params"],
    ["run"],
    ["validate"],
    ["sweep"],
    ["show"],
    ["adopt"],
    ["diff", "latest"],
    ["reproduce"],
    ["trace"],
    ["register"],
    ["promote", "--to", "champion"],
    ["demote", "quick"],
    ["card"],
    ["release"],
    ["deploy", "local"],
    ["deploy"],
    ["rollback"],
    ["setup"],
    ["setup", "lab", "--user"],
    ["remove"],
    ["stop"],
    ["compact"],
    ["status"],
    ["status", "lab", "--hosts"],
    ["journal"],
    ["lock"],
    ["unlock"],
    ["logs"],
    ["exec", "--host", "h1"],
    ["models", "--history"],
    ["runs", "--notebook"],
    ["key", "list", "--file"],
    ["key", "new", "shop", "--file", "keys", "--rate"],
    ["key", "new", "shop", "--file", "keys", "--scope"],
]


def ask(folder, lines, *before, **environment):
    "What each command line gives, in these surroundings."
    kept = {name: value for name, value in os.environ.items() if name not in environment}
    done = subprocess.run(
        [*before, sys.executable, HERE / "each_command.py", folder],
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        timeout=600,
        env=kept | {name: value for name, value in environment.items() if value is not None},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def faults(answers):
    "What of these answers no person should get."
    return [fault for fault in map(fault_of, answers) if fault]


def fault_of(answer):
    code, err = answer["code"], answer["err"]
    shown = f"mlkit {' '.join(answer['words'])[:100]} → {code}: {err[-700:]}"
    if code not in (0, 2, 3):  # nothing here is answered with a no, and nothing may be unforeseen
        return f"exit code: {shown}"
    if "Traceback" in err or "Traceback" in answer["out"]:
        return f"traceback: {shown}"
    if code and not any(line.startswith(("error: ", "Error: ", "broken: ")) for line in err.splitlines()):
        return f"no sentence: {shown}"
    if len(err) > 2500 or any(len(line) > 500 for line in err.splitlines()):
        return f"a page instead of a sentence ({len(err)} characters): {shown}"
    return None


@pytest.fixture
def project(tmp_path):
    project = quick_project(tmp_path)
    with open(tmp_path / "settings.ini", "a") as settings:
        settings.write("[environment lab]\ninventory = inventory.ini\n")
    (tmp_path / "garbage.ipynb").write_bytes(bytes(range(256)))
    (tmp_path / "list.ipynb").write_text("[]")
    (tmp_path / "folder.ipynb").mkdir()
    return project


def test_wrong_names_of_every_kind(project):
    lines = [[*command, name] for command in TAKES_A_NAME for name in RUBBISH]
    assert faults(ask(project.root, lines)) == []


def test_outside_of_a_project(tmp_path):
    assert faults(ask(tmp_path, COMMANDS)) == []


@pytest.mark.parametrize(
    "settings",
    [
        b"",
        b"\xff\xfe\x00rubbish",
        b"no section",
        b"[project]\n",
        b"[project]\nname = x\nname = y\n",
        b"[project]\nname = a/../b; rm\n",
        b"[project]\nname = x\nstore = nowhere://x\n",
        b"[project]\nname = x\nstore = settings.ini\n",
        b"[project]\nname = x\npipelines = settings.ini\n",
    ],
    ids=lambda text: text.decode("latin-1").replace("\n", "|"),
)
def test_settings_that_say_something_impossible(tmp_path, settings):
    (tmp_path / "settings.ini").write_bytes(settings)
    assert faults(ask(tmp_path, COMMANDS)) == []


def test_no_home_and_no_language(project):
    assert (
        faults(ask(project.root, COMMANDS, HOME=None, LANG=None, LC_ALL="POSIX", PYTHONIOENCODING="ascii"))
        == []
    )


def test_a_user_without_a_name_who_may_read_only(project):
    mlkit(project, "run", "work")
    readable(project.root)
    alone = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"]
    assert faults(ask(project.root, COMMANDS, *alone, HOME="/nonexistent")) == []


def test_a_user_who_may_not_read(project):
    mlkit(project, "run", "work")
    readable(project.root)
    for path in [project.root / "work.ipynb", *Path(project.store_url).rglob("*.json")]:
        path.chmod(0o600)
    alone = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"]
    assert faults(ask(project.root, COMMANDS, *alone)) == []


def readable(folder):
    "For everybody; writable by nobody but us."
    for path in [*folder.parents, folder, *folder.rglob("*")]:
        if path.is_relative_to("/tmp") and path != Path("/tmp"):
            path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.mark.parametrize("full", ["store", "temporary folder"])
def test_a_full_disk(project, tmp_path, full):
    disk = tmp_path / "disk"
    disk.mkdir()
    where = {"MLKIT_STORE": str(disk / "store")} if full == "store" else {"TMPDIR": str(disk)}
    mounted = f'mount -t tmpfs -o size=64k full "{disk}" && head -c 1m /dev/zero >"{disk}/filling"; exec "$@"'
    assert faults(ask(project.root, COMMANDS, "unshare", "-m", "sh", "-c", mounted, "sh", **where)) == []


def test_a_read_only_disk(project):
    mounted = f'mount --bind "{project.root}" "{project.root}" && mount -o remount,ro,bind "{project.root}" && exec "$@"'
    assert faults(ask(project.root, COMMANDS, "unshare", "-m", "sh", "-c", mounted, "sh")) == []
