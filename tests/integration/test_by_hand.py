"What a person meets who deploys by hand: the view on a real terminal, Ctrl-C in the middle, a model that may not go live."

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading

import pytest
from eventually import eventually
from fleeted import PORT, Fleeted
from laptop import MLKIT, Load

# Which of them is seen depends on how long each takes: the view is drawn a few times a second.
PROVING = re.compile("Start the new container|Wait until the new container|Replay the golden rows")


class Terminal:
    "A command on a terminal of 24 lines and 100 columns; what it printed is in `text`."

    def __init__(self, command, folder, environment):
        self.screen, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | environment | {"TERM": "xterm-256color"},
            preexec_fn=lambda: (os.login_tty(inside), signal.signal(signal.SIGINT, signal.SIG_DFL)),
        )
        os.close(inside)
        self.text = ""
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        try:
            while part := os.read(self.screen, 65536):
                self.text += part.decode(errors="replace")
        except OSError:  # how the end of a terminal is told
            return

    def type(self, keys):
        os.write(self.screen, keys)

    def wait(self):
        code = self.process.wait(timeout=120)
        self.reader.join()
        return code


@pytest.fixture(scope="module")
def lab(tmp_path_factory, engine, base_images, make_fleet):
    lab = Fleeted(tmp_path_factory.mktemp("lab"), make_fleet(1), base_images)
    lab.first, lab.second = lab.train(3), lab.train(5)
    lab.old, lab.new = lab.release(lab.first), lab.release(lab.second)
    lab.mlkit("deploy", "lab", lab.old)
    return lab


@pytest.fixture
def terminal(lab):
    "Starts a command on a terminal, and ends what a test leaves running."
    started = []

    def start(*words):
        started.append(Terminal([*MLKIT, *words], lab.folder, lab.environment))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            os.killpg(each.process.pid, signal.SIGKILL)
        each.wait()


def test_a_terminal_shows_what_each_host_does_now(lab, terminal):
    deploying = terminal("deploy", "lab", lab.new)
    assert deploying.wait() == 0, deploying.text
    shown = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", deploying.text)
    steps = set(re.findall(r"h1 +… (.+?) +[\d.]+ s +total +\d+ s", shown))
    assert len(steps) > 3 and any(map(PROVING.match, steps)), steps
    assert f"{lab.new} is live on lab" in shown
    lab.mlkit("rollback", "lab")


def test_after_ctrl_c_the_old_release_serves_and_the_same_command_finishes(lab, terminal):
    with Load(lab.address, PORT) as load:
        deploying = terminal("deploy", "lab", lab.new)
        eventually(lambda: PROVING.search(deploying.text), seconds=60)
        deploying.type(b"\x03")
        assert deploying.wait() == 130
        assert (
            "deploy to lab was stopped" in deploying.text and "run the same command again" in deploying.text
        )
        # the switch may have begun by then, and that is said: see going_back
        assert lab.live() == lab.first or "begun to switch: h1" in deploying.text
        lab.mlkit("deploy", "lab", lab.new)
    assert load.failures == [] and lab.live() == lab.second


def test_a_model_without_a_passing_verdict_goes_live_only_with_a_reason_that_the_journal_keeps(lab):
    settings = lab.folder / "settings.ini"
    before = settings.read_text()
    settings.write_text(before.replace("auc = >= 0.5", "auc = >= 1.5"))
    weak = lab.train(7)
    settings.write_text(before)
    refused = lab.mlkit("deploy", "lab", weak, check=False)
    assert refused.returncode == 1 and "--override" in refused.stderr, refused.stderr
    assert lab.live() != weak
    lab.mlkit("deploy", "lab", weak, "--override", "the last one is worse")
    assert lab.live() == weak and lab.journal()[-1]["override"] == "the last one is worse"
