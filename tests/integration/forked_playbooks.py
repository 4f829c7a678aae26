"""Runs ansible-playbook in forks of one process that has imported it.

A start of ansible-playbook costs half a second of imports. The modules that it sends to hosts are put together anew each
time, too, which costs more: here they are put together once, in the folder that all forks share. Tests that kill a
deployment or set a variable for it, and all of `mlkit deploy`, start the real command.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress

SECONDS = 300  # that a playbook may take


class ForkedPlaybooks:
    "The process that forks, for as long as the block runs."

    def __enter__(self):
        pipe = subprocess.PIPE
        self.server = subprocess.Popen([sys.executable, __file__], stdin=pipe, stdout=pipe, text=True)
        return self

    def run(self, words):
        "What `subprocess.run` gives for `ansible-playbook WORDS`, with the folder and the environment of now."
        words = ["ansible-playbook", *map(str, words)]
        told = {"words": words, "folder": os.getcwd(), "environment": dict(os.environ)}
        print(json.dumps(told), file=self.server.stdin, flush=True)
        return subprocess.CompletedProcess(words, **json.loads(self.server.stdout.readline()))

    def __exit__(self, *_):
        self.server.stdin.close()  # its end
        self.server.wait()
        self.server.stdout.close()


def serve():
    import ansible.cli.playbook
    import ansible.executor.task_queue_manager  # noqa: F401  what a playbook imports when it begins

    for line in sys.stdin:
        print(json.dumps(answer(**json.loads(line))), flush=True)


def answer(words, folder, environment):
    "Run a playbook in a fork: its exit code and what it printed."
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = os.fork()
        if not process:
            os.setsid()  # a group of its own, so that all of it can be ended
            for number, file in enumerate([open(os.devnull), out, err]):
                os.dup2(file.fileno(), number)
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(environment)
            play(words)
        code, texts = wait_for(process), []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return {"returncode": code, "stdout": texts[0], "stderr": texts[1]}


def wait_for(process):
    deadline = time.monotonic() + SECONDS
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            with suppress(ProcessLookupError):
                os.killpg(process, 9)
        time.sleep(0.02)


def play(words):
    "As the command does it, up to the end of the process."
    import traceback

    from ansible.cli.playbook import main

    code = 1
    try:
        main(words)
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
