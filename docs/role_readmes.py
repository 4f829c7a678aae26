"""Writes the table of variables into the README of each role, out of its meta/argument_specs.yml: `python docs/role_readmes.py`.

The text above the table is written by hand and stays.
"""

from pathlib import Path

import yaml

ROLES = Path(__file__).parents[1] / "playbooks/collections/ansible_collections/mlkit/deploy/roles"
HEAD = "## Variables\n"


def with_table(role: Path) -> str:
    "The README as it should be."
    text = (role / "README.md").read_text().partition(HEAD)[0]
    return text + HEAD + "\n| variable | type | default | |\n|---|---|---|---|\n" + "".join(rows(role))


def rows(role: Path) -> list[str]:
    specs = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]
    options = {name: option for spec in specs.values() for name, option in spec.get("options", {}).items()}
    found = []
    for name, option in options.items():
        default = option.get("default", "required" if option.get("required") else "")
        shown = f"`{default}`" if default not in ("", "required") else default
        words = " ".join(option["description"].split())
        found.append(f"| `{name}` | {option['type']} | {shown} | {words} |\n")
    return found


if __name__ == "__main__":
    for role in sorted(ROLES.iterdir()):
        (role / "README.md").write_text(with_table(role))
