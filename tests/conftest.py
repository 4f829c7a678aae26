"""The tiers of tests, and what is said of those that did not run.

unit          tests/<room>/: seconds, needs nothing
notebooks     tests/notebooks/: the notebooks run as their readers run them
integration   tests/integration/: a real container engine, real sshd, a real browser
"""

import collections
import itertools
import os
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


def pytest_configure(config):
    config.addinivalue_line("markers", "notebooks: runs notebooks as their readers do; a minute")
    config.addinivalue_line(
        "markers", "integration: needs root, a container engine or the fleet (.ci/system)"
    )


def pytest_collection_modifyitems(items):
    for item in items:
        tier = item.path.relative_to(TESTS).parts[0]
        if tier in ("notebooks", "integration"):
            item.add_marker(tier)
    # Files of hosts first, for they take longest: the last to end is then a short one.
    items.sort(key=lambda item: "make_fleet" not in item.fixturenames and "fleet" not in item.fixturenames)


def pytest_terminal_summary(terminalreporter):
    say_what_did_not_run(terminalreporter)
    say_what_took_longest(terminalreporter)


def say_what_took_longest(terminalreporter, count=10):
    seconds = collections.Counter()
    for report in itertools.chain.from_iterable(terminalreporter.stats.values()):
        if isinstance(report, pytest.TestReport):
            seconds[report.nodeid.partition("::")[0]] += report.duration
    terminalreporter.section(f"slowest {count} files")
    for name, total in seconds.most_common(count):
        terminalreporter.line(f"{total:7.1f} s  {name}")


def say_what_did_not_run(terminalreporter):
    "A tier that did not run must not look like one that passed."
    missing = {str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", [])}
    if missing:
        count = len(terminalreporter.stats["skipped"])
        terminalreporter.section(f"{count} TESTS DID NOT RUN", red=True, bold=True)
        for why in sorted(missing):
            terminalreporter.line(why.removeprefix("Skipped: "))


@pytest.fixture(scope="session")
def root():
    "The checkout."
    return TESTS.parent


def pytest_sessionfinish(session, exitstatus):
    "In CI every tier is owed."
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")  # none in one of several processes
    if (
        os.environ.get("CI")
        and reporter
        and reporter.stats.get("skipped")
        and exitstatus == pytest.ExitCode.OK
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
