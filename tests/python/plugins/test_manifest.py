"""What plugins declare: each wrong value is an error with its file and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from flyball.errors import FormatError, InvalidArgument, Unsupported
from flyball.plugins.hooks import KINDS, Hooks
from flyball.plugins.manifest import Manifest, too_deep

GOOD = """
name = "a-1"
api = 1
version = "1"
about = "Does."
capabilities = ["tools"]
[permissions]
hosts = ["http://localhost:80", "https://a.example"]
read = ["/srv/data"]
seconds = 0.5
memory_mb = 128
[config]
unit = "C"
[[tools]]
name = "go"
description = "Goes."
"""


def test_a_manifest_is_read_whole() -> None:
    found = Manifest.parse(GOOD.encode(), "a.toml")
    assert (found.name, found.capabilities, found.config) == ("a-1", ("tools",), {"unit": "C"})
    assert found.permissions.hosts == ("http://localhost:80", "https://a.example")
    assert (found.permissions.seconds, found.permissions.memory_mb, found.permissions.text) == (0.5, 128, False)
    function = {"name": "go", "description": "Goes.", "parameters": {"type": "object", "properties": {}}}
    assert [tool.as_openai() for tool in found.tools] == [{"type": "function", "function": function}]
    more = found.with_hosts(["http://localhost:80", "http://b.example"])
    assert more.permissions.hosts == ("http://localhost:80", "https://a.example", "http://b.example")
    with pytest.raises(InvalidArgument):
        found.with_hosts(["b.example"])


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ('name = "a-1"', 'name = "../a"', "name is"),
        ('name = "a-1"', "name = 3", "name must be"),
        ('name = "a-1"', "", "name must be"),
        ('version = "1"', 'version = "\\u001b[2J"', "version must be"),
        ('about = "Does."', 'about = "Does."\nwhy = 1', "why is unknown"),
        ('["tools"]', '["tools", "root"]', "capabilities must be some of tools, guardian"),
        ('["tools"]', "[]", "capabilities must be"),
        ('["tools"]', '["guardian"]', "tools must be there"),
        ("seconds = 0.5", "seconds = 1e9", "permissions.seconds is"),
        ("seconds = 0.5", "seconds = true", "permissions.seconds is"),
        ("seconds = 0.5", "seconds = nan", "permissions.seconds is"),
        ("memory_mb = 128", "memory_mb = 1", "permissions.memory_mb is"),
        ("memory_mb = 128", "root = true", "permissions.root is unknown"),
        ('"/srv/data"', '"srv"', "permissions.read has"),
        ('"/srv/data"', '"/srv/../etc"', "permissions.read has"),
        ('"https://a.example"', '"https://*.example/x"', "permissions.hosts"),
        ('"https://a.example"', '"ftp://a.example"', "permissions.hosts"),
        ('"https://a.example"', '"https://user@a.example"', "permissions.hosts"),
        ('name = "go"', 'name = "go there"', r"tools\[0\].name is"),
        (
            'description = "Goes."',
            'description = "Goes."\nparameters = {type = "array"}',
            r"tools\[0\].parameters must",
        ),
        ('unit = "C"', "unit = 2026-12-01", "config has what JSON has not"),
        ('unit = "C"', "unit = " + "[" * 30 + "]" * 30, "config is nested deeper"),
        (
            '[[tools]]\nname = "go"',
            '[[tools]]\nname = "go"\ndescription = "x"\n[[tools]]\nname = "go"',
            "tools has two of one name",
        ),
    ],
)
def test_each_wrong_value_is_told(old: str, new: str, what: str) -> None:
    assert old in GOOD
    with pytest.raises(FormatError, match=f"a.toml: {what}"):
        Manifest.parse(GOOD.replace(old, new, 1).encode(), "a.toml")


@pytest.mark.parametrize("raw", [b"\xff", b"name = ", b"a = " + b"[" * 5000, b"#" * 70_000])
def test_what_is_no_manifest_is_told(raw: bytes) -> None:
    with pytest.raises(FormatError, match=r"a\.toml"):
        Manifest.parse(raw, "a.toml")


def test_another_version_of_the_hooks_is_unsupported() -> None:
    with pytest.raises(Unsupported, match="api is 2, this Flyball has 1"):
        Manifest.parse(GOOD.replace("api = 1", "api = 2").encode(), "a.toml")


def test_depth_is_found_without_recursion() -> None:
    deep: object = []
    for _ in range(100_000):
        deep = [deep]
    assert too_deep(deep, 32)
    assert not too_deep({"a": [1, {"b": 2}]}, 3)
    while deep:  # its destructor would recurse
        (deep,) = deep  # type: ignore[misc]


def test_every_kind_has_a_hook_and_a_place_in_the_docs() -> None:
    page = (Path(__file__).parents[3] / "docs" / "plugins.md").read_text()
    hooks = {name for name in vars(Hooks) if name.startswith("flyball_")}
    assert {kind.hook for kind in KINDS.values()} == hooks
    for name, kind in KINDS.items():
        assert f"`{name}`" in page
        assert f"`{kind.hook}`" in page
