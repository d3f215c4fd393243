"""What a project decides on its plugins."""

from __future__ import annotations

import pytest

from flyball.errors import InvalidArgument, NotFound
from flyball.store import Project

from .conftest import Clock

ONE, OTHER = "a" * 64, "b" * 64


def test_a_decision_is_of_a_name_and_a_hash(project: Project, clock: Clock) -> None:
    assert project.plugins.get("weather") is None
    row = project.plugins.allow("weather", ONE, {"name": "weather"}, {"hosts": ["http://x"], "config": {"a": 1}}, "ada")
    assert project.plugins.get("weather") == row
    assert (row.state, row.sha256, row.who, row.added["config"]) == ("allowed", ONE, "ada", {"a": 1})
    again = project.plugins.allow("weather", OTHER, {}, {}, "bob")  # in the same millisecond
    assert (again.sha256, again.created) == (OTHER, row.created)
    assert again.changed > row.changed
    clock.now += 5000
    assert project.plugins.forbid("weather", "eve").state == "forbidden"
    assert [each.who for each in project.plugins.all()] == ["eve"]


def test_quarantine_is_of_what_is_allowed(project: Project) -> None:
    project.plugins.allow("weather", ONE, {}, {}, "ada")
    assert not project.plugins.quarantine("weather", OTHER, "other code")
    assert not project.plugins.quarantine("rain", ONE, "another name")
    assert project.plugins.quarantine("weather", ONE, "it failed")
    assert not project.plugins.quarantine("weather", ONE, "again")
    row = project.plugins.get("weather")
    assert row is not None
    assert (row.state, row.why) == ("quarantined", "it failed")
    project.plugins.allow("weather", ONE, {}, {}, "ada")
    row = project.plugins.get("weather")
    assert row is not None
    assert (row.state, row.why) == ("allowed", None)


def test_what_no_database_takes_is_refused(project: Project) -> None:
    with pytest.raises(NotFound):
        project.plugins.forbid("nobody", "ada")
    for name in ("", "\0", "x" * 300, "\ud800"):
        with pytest.raises(InvalidArgument):
            project.plugins.allow(name, ONE, {}, {}, "ada")
        assert project.plugins.get(name) is None
