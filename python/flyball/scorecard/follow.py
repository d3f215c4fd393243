"""Following instructions whose form can be verified."""

from __future__ import annotations

from . import follow_exact, follow_text
from .checks import Check


def checks() -> tuple[Check, ...]:
    """The checks of this group."""
    return tuple(
        Check(f"follow-{name}", "follow", prompt, rules, example, 1000 * (i + 1), 96)
        for i, (name, prompt, example, rules) in enumerate((*follow_text.TABLE, *follow_exact.TABLE))
    )
