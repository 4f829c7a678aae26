"""The tiers of tests, and what is said of those that did not run.

unit          tests/test_*.py: seconds, needs nothing
notebooks     tests/notebooks/: the notebooks run as their readers run them
integration   tests/integration/: a real container engine, real sshd, a real browser
"""

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


def pytest_terminal_summary(terminalreporter):
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
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter.stats.get("skipped") and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
