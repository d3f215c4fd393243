"""Opening: where, how, in which state."""

from __future__ import annotations

from flyball.store import Store


def test_a_new_database_has_the_default_project(store: Store) -> None:
    assert store.projects() == ["default"]
