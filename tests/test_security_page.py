"docs/security.md names a test for each row."

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_each_test_that_the_page_names_is_there():
    page = (ROOT / "docs/security.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page)
    assert len(named) >= 15
    missing = [f"{path}::{name}" for path, name in named if f"def {name}(" not in (ROOT / path).read_text()]
    assert missing == []
