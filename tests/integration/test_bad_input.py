"docs/bad-input.md says what the server answers today. To write it anew: python tests/integration/bad_input.py"

import pytest
from bad_input import INPUTS, PAGE, Servers, cell, line

ALL = [bad for inputs in INPUTS.values() for bad in inputs]


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    with Servers(tmp_path_factory.mktemp("servers")) as servers:
        yield servers


def lines_of_the_page():
    return [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]


@pytest.mark.parametrize("bad", ALL, ids=lambda bad: bad.what)
def test_the_page_says_what_is_answered(servers, bad):
    begins = f"| {bad.what} | {cell(bad.shown)} |"
    assert [shown for shown in lines_of_the_page() if shown.startswith(begins)] == [line(bad, servers)]


def test_the_page_has_no_line_that_nobody_checks():
    assert len(lines_of_the_page()) == len(ALL) + len(INPUTS)  # each table has a head
