"""The pages of the documentation site: README.md and docs/ as they are, the notebooks with what they show, and references of the
commands and the settings, made from the code that reads them.

    make docs        the site is then in build/site
"""

import ast
import dataclasses
import inspect
import re
import shutil
from pathlib import Path
from textwrap import dedent

import click
import nbformat
import yaml
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "build/site-source"
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"(^ *```.*?^ *```$)", re.M | re.S)


def main() -> None:
    shutil.rmtree(SOURCE, ignore_errors=True)
    pages = {
        ROOT / "README.md": "index.md",
        ROOT / "CONTRIBUTING.md": "contributing.md",
        ROOT / "CHANGELOG.md": "changelog.md",
    }
    pages |= {path: f"guide/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))}
    notebooks = {
        path: f"library/{path.relative_to(ROOT / 'notebooks').with_suffix('.md')}"
        for path in sorted((ROOT / "notebooks").rglob("*.ipynb"))
        if ".ipynb_checkpoints" not in path.parts
    }
    for path, page in pages.items():
        write(page, with_links(path.read_text(), path, page, pages | notebooks))
    for path, page in notebooks.items():
        write(page, with_links(notebook_page(path, SOURCE / page), path, page, pages | notebooks))
    for picture in (ROOT / "docs").glob("*.png"):
        shutil.copy(picture, SOURCE / "guide")
    write("reference/commands.md", commands())
    write("reference/settings.md", settings())
    write("reference/variables.md", role_variables())


def write(page: str, text: str) -> None:
    (SOURCE / page).parent.mkdir(parents=True, exist_ok=True)
    (SOURCE / page).write_text(text)


def with_links(text: str, path: Path, page: str, pages: dict[Path, str]) -> str:
    "Links to what is a page lead there; what is only in the repository is named by its path."

    def link(match: re.Match) -> str:
        mark, words, target = match.groups()
        file, _, anchor = target.partition("#")
        if not file or "://" in target or target.startswith("mailto:"):
            return match[0]
        found = (path.parent / file).resolve()
        up = "../" * page.count("/")
        if found in pages:
            return f"{mark}[{words}]({up}{pages[found]}{'#' + anchor if anchor else ''})"
        if found.suffix == ".png" and found.parent == ROOT / "docs":
            return f"{mark}[{words}]({up}guide/{found.name})"
        if (SOURCE / page).parent.joinpath(file).exists():  # a picture that a notebook shows
            return match[0]
        if found.exists():
            return f"{words.strip('`')} (`{found.relative_to(ROOT)}`)"
        raise SystemExit(f"{path.relative_to(ROOT)}: there is no {target}")

    return "".join(piece if FENCE.fullmatch(piece) else LINK.sub(link, piece) for piece in FENCE.split(text))


def notebook_page(path: Path, target: Path) -> str:
    "A notebook as a page: directives become words, tests are folded."
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.language_info = {"name": "python"}  # so that code is highlighted
    notebook.cells = [cell for cell in notebook.cells if not cell.source.startswith("#| default_exp")]
    folded = {}
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.source.startswith("#| test"):
            title, _, code = cell.source.removeprefix("#| test").partition("\n")
            folded[f"TEST{len(folded)}"] = (title.strip(), code)
            cell.cell_type, cell.source = "markdown", f"TEST{len(folded) - 1}"
            cell.pop("outputs", None), cell.pop("execution_count", None)
        elif cell.source.startswith("#|"):
            cell.source = cell.source.partition("\n")[2]
    text, resources = MarkdownExporter().from_notebook_node(notebook)
    for name, content in resources["outputs"].items():
        picture = target.with_name(f"{target.stem}_{name}")
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(content)
        text = text.replace(f"({name})", f"({picture.name})")
    for mark, (title, code) in folded.items():
        words = f'??? example "Test: {title}"' if title else '??? note "What the tests import"'
        body = "\n".join(f"    {line}" for line in ["```python", *code.splitlines(), "```"])
        text = re.sub(rf"^{mark}$", lambda _, new=f"{words}\n{body}": new, text, flags=re.M)
    return text


def commands() -> str:
    from mlkit.cli.main import main as group

    lines = ["# Commands", "", "What `mlkit COMMAND --help` says.", ""]
    for name in group.list_commands(click.Context(group)):
        lines += help_of(group.get_command(click.Context(group), name), f"mlkit {name}")
    return "\n".join(lines)


def help_of(command: click.Command, name: str) -> list[str]:
    context = click.Context(command, info_name=name, max_content_width=100)
    lines = [f"## {name}", "", "```text", command.get_help(context), "```", ""]
    for below in getattr(command, "commands", {}).values():
        lines += help_of(below, f"{name} {below.name}")
    return lines


def settings() -> str:
    from mlkit.runs.kernel import Limits
    from mlkit.serve.options import Options
    from mlkit.settings import MODEL, OF_A_MODEL, SECTIONS, Environment, Project

    project = fields_of(Project)
    project["pipelines"] = project["notebooks"]
    project["store"] = f"{project['store_url']}; `./store` when nothing is said"
    project["model"] = "the registry name of its model; several have a section each, [model NAME]"
    environment = fields_of(Environment)
    defaults = {field.name: field.default for field in dataclasses.fields(Options)}
    here = ("setting", "what it is")
    lines = ["# Settings", "", "## settings.ini", "", "### [project]", ""]
    lines += table(here, [(f"`{key}`", project[key]) for key in sorted(SECTIONS["project"])])
    lines += ["", "### [model NAME]", ""]
    own = ", ".join(f"`[{kind} NAME]`" for kind in OF_A_MODEL)
    lines += [f"One for each of several models. {own} hold for it in place of the section without a name.", ""]
    lines += table(here, [(f"`{key}`", project[key]) for key in sorted(MODEL)])
    lines += ["", "### [environment NAME]", ""]
    lines += ["What is not named here is a [variable of the roles](variables.md).", ""]
    lines += table(
        here, [(f"`{key}`", environment[key]) for key in environment if key not in ("name", "variables", "only")]
    )
    lines += ["", "### [limits]", ""]
    lines += table(here, [(f"`{key}`", text) for key, text in fields_of(Limits).items()])
    lines += ["", "### The other sections", ""]
    lines += table(("section", "settings", "read by"), [section(*each) for each in other_sections()])
    lines += ["", "## Variables of a server", "", "Each is an environment variable of `gunicorn`.", ""]
    variables = fields_of(Options).items()
    lines += table(
        ("variable", "default", "what it is"),
        [(f"`MLKIT_{key.upper()}`", f"`{defaults[key]}`", text) for key, text in variables],
    )
    return "\n".join(lines) + "\n"


def other_sections() -> list[tuple[str, str, str]]:
    "Name, keys, and the notebook that reads it."
    from mlkit.custody.card import SAYS
    from mlkit.data.reading import OPTIONS
    from mlkit.release.promotion import SETTINGS as PROMOTION
    from mlkit.release.release import SETTINGS as RELEASE
    from mlkit.validation.profit import OUTCOMES, WORDS

    def listed(keys):
        return ", ".join(f"`{key}`" for key in keys)

    outcome = [*WORDS, *sorted({key for keys in OUTCOMES.values() for key in keys})]
    gates = "any metric, with `>=` or `<=` and a number; `off` for one that is on by default"
    dataset = "`source`, `query`, `rows`, `column.NAME`, `unique` and what else a table must be"
    return [
        ("gates", gates, "validation/04_verdict.ipynb"),
        ("split", "`column` and `at`, or `share`, `seed` and `key`", "data/11_split.ipynb"),
        ("slices", listed(["columns", "smallest"]), "validation/02_slices.ipynb"),
        ("outcome", listed(outcome), "validation/03_profit.ipynb"),
        ("card", listed(SAYS), "custody/03_card.ipynb"),
        ("release", listed(sorted(RELEASE)), "release/06_release.ipynb"),
        ("registry", listed(sorted(PROMOTION)), "release/05_promotion.ipynb"),
        ("dataset NAME", listed(OPTIONS), "data/02_reading.ipynb"),
        ("dataset NAME", dataset, "data/09_expectation.ipynb"),
    ]


def section(name: str, keys: str, notebook: str) -> tuple[str, str, str]:
    if not (ROOT / "notebooks" / notebook).is_file():
        raise SystemExit(f"docs/make_site.py: there is no notebooks/{notebook}")
    return f"`[{name}]`", keys, f"[{notebook}](../library/{notebook.replace('.ipynb', '.md')})"


def table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    for row in rows:
        if not row[-1].strip():
            raise SystemExit(f"docs/make_site.py: nothing says what {row[0]} is")
    lines = [f"| {' | '.join(row)} |" for row in (heads, *rows)]
    return [lines[0], "|" + "---|" * len(heads), *lines[1:]]


def fields_of(owner: type) -> dict[str, str]:
    "The fields of a dataclass, and what the comment beside each says."
    lines = dedent(inspect.getsource(owner)).splitlines()
    found = {}
    for node in ast.parse("\n".join(lines)).body[0].body:
        if isinstance(node, ast.AnnAssign):
            beside = " ".join(lines[node.lineno - 1 : node.end_lineno]).partition("#")[2].strip()
            found[node.target.id] = re.sub(r"\s*\)$", "", beside).replace("|", "\\|")
    return found


def role_variables() -> str:
    lines = [
        "# Variables of the roles",
        "",
        "In an inventory, or in `[environment NAME]` of settings.ini.",
        "",
    ]
    for file in sorted((ROOT / "playbooks/collections/ansible_collections/mlkit/deploy/roles").glob("*/meta/argument_specs.yml")):
        role = file.parts[-3]
        for entry, spec in yaml.safe_load(file.read_text())["argument_specs"].items():
            lines += [
                f"## {role}{'' if entry == 'main' else ': ' + entry}",
                "",
                spec.get("short_description", ""),
                "",
            ]
            lines += ["| variable | type | default | what it is |", "|---|---|---|---|"]
            for name, option in (spec.get("options") or {}).items():
                words = option.get("description", "")
                words = " ".join(words) if isinstance(words, list) else words
                default = option.get("default", "required" if option.get("required") else "")
                lines += [
                    f"| `{name}` | {option.get('type', 'str')} | `{default}` | {' '.join(words.split())} |".replace(
                        "| `` |", "| |"
                    )
                ]
            lines += [""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
