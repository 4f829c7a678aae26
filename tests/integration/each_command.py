"""Runs many `mlkit` command lines, each in a process of its own that is forked from one that has imported what they use.

    python each_command.py FOLDER < lines.json > answers.json

A test starts it in the surroundings of which it wants to see what comes of them: another user, a full disk, no HOME.
"""

import importlib
import json
import os
import sys
import tempfile

# What commands import when they run, up to half a second each time: here once, in the same surroundings.
LIBRARIES = [
    "mlkit.custody.card",
    "mlkit.custody.reproduce",
    "mlkit.deploy.local.server",
    "mlkit.deploy.journal",
    "mlkit.sweeps.execute",
    "ansible_runner",
    "pandas",
    "pyarrow",
]


def answer(words):
    "What the command `mlkit WORDS` gives: exit code, stdout, stderr."
    with tempfile.TemporaryFile(dir="/dev/shm") as out, tempfile.TemporaryFile(dir="/dev/shm") as err:
        process = os.fork()
        if not process:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            run(words)
        _, status = os.waitpid(process, 0)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return {"words": words, "code": os.waitstatus_to_exitcode(status), "out": texts[0], "err": texts[1]}


def run(words):
    "As the interpreter does it at the end of a program."
    from mlkit.cli.main import main

    code = 1
    try:
        main(words, prog_name="mlkit")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    for library in ["mlkit.cli.main", *LIBRARIES]:
        importlib.import_module(library)
    json.dump([answer(words) for words in json.load(sys.stdin)], sys.stdout)
