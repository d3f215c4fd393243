"""llguidance, imported on first use."""

from __future__ import annotations

import functools
from types import ModuleType

from ..errors import Unsupported

_HINT = "constraints need llguidance, which is not installed: pip install 'flyball[serve]'"


def load() -> ModuleType:
    """The module; raises Unsupported if it is not installed."""
    try:
        import llguidance
    except ImportError:
        raise Unsupported("constraint", _HINT) from None
    return llguidance


@functools.cache
def name() -> str:
    """Name and version of the library, as receipts have them."""
    return str(load().get_version()).split()[0].replace("@", " ")  # "llguidance@1.9.1 derivre@0.3.13"


def check(wanted: str) -> None:
    """Raise Unsupported unless constraints of `wanted` can be applied as that library did."""
    try:
        present = name()
    except Unsupported as error:
        raise Unsupported("constraint", f"was applied by {wanted}: {error.what}") from None
    if present != wanted:
        what = f"was applied by {wanted}, and {present} may draw the line elsewhere: install {wanted} to tell"
        raise Unsupported("constraint", what)
