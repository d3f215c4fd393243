"""What the documentation shows is what happens."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import pytest

from flyball.cli import make_parser
from flyball.config import configuration
from ops import models_page, reasons_page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
SOURCES = [
    *("bench/**/*.cpp", "bench/**/*.py", "ops/**/*.md", "ops/**/*.py", "ops/**/*.sh"),
    *("python/**/*.html", "python/**/*.py", "python/**/*.pyi", "tests/python/**/*.py"),
]
BRITISH = re.compile(
    r"\w*(?:(?:categor|initial|maxim|minim|normal|quant|recogn|serial|summar|synchron|token|visual)is(?:a|e|i)"
    r"|analyse|behaviour|catalogue|centre|colour|favour|honour|judgement|learnt|licence|neighbour|cancelled(?!\(|Error))\w*",
    re.IGNORECASE,
)
KEPT = {  # names in files and protocols, and what the bundled model was trained on
    "ops/demo_model/tasks.py": {"cancelled", "neighbour"},
    "python/flyball/governor/policy.py": {"learnt"},
    "python/flyball/journal/events.py": {"learnt", "quantisation"},
    "python/flyball/serve/apis/batches.py": {"cancelled", "cancelled_at"},
    "python/flyball/serve/batch_lines.py": {"cancelled"},
    "python/flyball/serve/batch_steps.py": {"cancelled"},
    "python/flyball/store/batches.py": {"cancelled", "cancelled_at"},
    "python/flyball/store/migrations/versions/r0001_first.py": {"cancelled_at"},
    "python/flyball/store/schema.py": {"cancelled"},
    "tests/python/image/test_image.py": {"learnt"},
    "tests/python/serve/test_batches.py": {"batch_cancelled", "cancelled"},
    "tests/python/store/test_batches.py": {"cancelled", "cancelled_at"},
    "tests/python/store/test_projects.py": {"cancelled"},
}
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def test_examples_of_the_documentation_run(capsys: pytest.CaptureFixture[str]) -> None:
    page = (DOCS / "python.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) >= 5
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    assert "tokens were not computed again" in capsys.readouterr().out
    names["model"].close()


def subcommands() -> dict[str, argparse.ArgumentParser]:
    return next(a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction)).choices


def flags(command: str) -> list[list[str]]:
    """The names of each flag of a command, but for --help."""
    parser = make_parser()
    for word in command.split():
        parser = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction)).choices[word]
    return [list(a.option_strings) for a in parser._actions if a.option_strings and "--help" not in a.option_strings]


KEYS = [f"keys {action}" for action in ("create", "list", "revoke", "rotate")]
AUDIT = [f"audit {action}" for action in ("keys", "sign", "head", "cosign", "export", "verify")]


@pytest.mark.parametrize(
    "command", ["run", "verify", "chat", "info", "config", "replay", "bench speed", "pull", *KEYS, *AUDIT]
)
def test_every_flag_is_documented(command: str) -> None:
    words = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", (DOCS / "cli.md").read_text()))
    assert [names for names in flags(command) if not words & set(names)] == []


def test_the_page_of_reasons_is_the_registry() -> None:
    assert (DOCS / "reasons.md").read_text() == reasons_page.page(), "write it again: make reasons"


def test_the_page_of_models_is_the_registries_and_records() -> None:
    assert (DOCS / "models.md").read_text() == models_page.page(), "write it again: make models"
    readme = (ROOT / "README.md").read_text()
    assert readme == models_page.readme(readme), "write it again: make models"


def test_contracts_name_the_flags_of_bench() -> None:
    line = re.search(r"^`flyball bench speed .*?`", (DOCS / "contracts.md").read_text(), re.MULTILINE | re.DOTALL)
    assert line
    assert set(re.findall(r"--[a-z-]+", line[0])) == {name for names in flags("bench speed") for name in names}


def test_the_configuration_shown_is_the_one_that_is() -> None:
    shown = re.findall(r"^([a-z_.]+) = .+  # (?:default|command line)$", (DOCS / "cli.md").read_text(), re.MULTILINE)
    assert shown == list(configuration.defaults())


MILESTONES = [  # item, commands, tests
    (cells[0], re.findall("`([^`]+)`", cells[2]), re.findall("`([^`]+)`", cells[3]))
    for line in (DOCS / "reliability.md").read_text().splitlines()
    if re.match(r"\| [ABM]\d", line) and len(cells := line.strip("| ").split(" | ")) == 4
]


def test_the_table_of_milestones_is_complete() -> None:
    items = {item for cell, _, _ in MILESTONES for item in cell.split(", ")}
    assert items >= {"A1", "A2", "A3", "B1", "B2", "B3"}
    assert items >= {f"M{n}" for n in (6, *range(8, 20))}
    assert items >= {f"M{n}.1" for n in range(8, 20) if n != 17} | {"M16.2"}
    assert [item for item, _, tests in MILESTONES if not tests] == ["M8.1"]  # linters


@pytest.mark.parametrize("command", sorted({command for _, commands, _ in MILESTONES for command in commands}))
def test_commands_of_the_milestones_parse(command: str) -> None:
    program, *words = command.split()
    if program == "flyball":
        make_parser().parse_args(words)
    elif program == "make":
        assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    else:
        assert re.search(rf"^\| `{program}[ `]", (DOCS / "repl.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("test", sorted({test for _, _, tests in MILESTONES for test in tests}))
def test_tests_of_the_milestones_exist(test: str) -> None:
    name, _, function = test.partition("::")
    found = [path for path in (ROOT / "tests").rglob(Path(name).name) if path.as_posix().endswith(f"/{name}")]
    assert len(found) == 1
    pattern = rf"^TEST\({function}\)" if name.endswith(".cpp") else rf"^def {function}\("
    assert re.search(pattern, found[0].read_text(), re.MULTILINE), f"{name} has no {function}"


def without_blocks(page: Path) -> str:
    return re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)", without_blocks(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere() -> None:
    link = re.compile(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)")
    found = [(page, *parts) for page in PAGES for parts in link.findall(without_blocks(page))]
    assert len(found) > 50
    for page, path, anchor in found:
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links {path}"
        assert not anchor or anchor in anchors(target), f"{page.name} links {path}#{anchor}"


@each_page
def test_paths_in_code_exist(page: Path) -> None:
    """Paths between backticks, with or without wildcards, but those of the milestones' tests."""
    paths = re.findall(r"`((?:cpp|python|tests|bench|ops|docs)/[^`\s:]*)`", without_blocks(page))
    assert [path for path in paths if not any(ROOT.glob(path))] == []


@each_page
def test_commands_of_the_documentation_exist(page: Path) -> None:
    """At the start of a line or between backticks; `flyball answer 1` is the tag of a digest."""
    found = re.findall(r"(?:^\s*(?:\$ )?|`)flyball ([a-z]+)\b(?! \d)", page.read_text(), re.MULTILINE)
    assert set(found) <= set(subcommands())


@each_page
def test_spelling_is_american(page: Path) -> None:
    assert BRITISH.findall(re.sub(r"`[^`]*`", "", without_blocks(page))) == []


@pytest.mark.parametrize("pattern", SOURCES)
def test_spelling_of_sources_is_american(pattern: str) -> None:
    files = [file for file in ROOT.glob(pattern) if file != Path(__file__)]
    assert files
    for file in files:
        name = file.relative_to(ROOT).as_posix()
        assert set(BRITISH.findall(file.read_text())) <= KEPT.get(name, set()), name


def test_the_map_names_what_there_is() -> None:
    """Each function in the map's path is defined in the file of its row."""
    rows = re.findall(r"^\| \d+ \|.*\| `([^`]+)` \| (.+) \|$", (DOCS / "architecture.md").read_text(), re.MULTILINE)
    assert len(rows) == 20
    for path, functions in rows:
        source = (ROOT / path).read_text()
        for function in re.findall(r"`([^`]+)`", functions):
            pattern = rf"^[\w:<>*&\[\] ]+ \*?&?{function}\("
            if path.endswith(".py"):
                *kind, name = function.split(".")
                inside = rf"class {kind[0]}\b[\s\S]*?^    " if kind else ""
                pattern = rf"^{inside}(?:async )?def {name}\("
            assert re.search(pattern, source, re.MULTILINE), f"{path} has no {function}"
