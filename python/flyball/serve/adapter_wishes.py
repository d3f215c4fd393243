"""What a request says of its adapter, and what its response says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .bodies import Body

CHOSEN = "flyball.adapter"  # in a request's scope: its adapter, the same for all of its answers
_MOST_SCALE = 100.0


@dataclass(frozen=True)
class Wanted:
    """What a request says of its adapter: a name or digest, llama-server's id, or neither: none."""

    name: str | None = None
    number: int | None = None
    scale: float = 1.0


def wanted_of(body: Body) -> Wanted | None:
    """What a body says: `adapter`, a name, a digest or null, with `adapter_scale`; or llama-server's `lora`, a list of
    ids with scales. None: nothing."""
    scale = body.number("adapter_scale", -_MOST_SCALE, _MOST_SCALE)
    name = body.text("adapter")
    if "lora" in body.members and body.members["lora"] is not None:
        if "adapter" in body.members:
            body.refuse("lora", "does not go with adapter: both say which one answers")
        return _of_lora(body)
    if scale is not None and name is None:
        body.refuse("adapter_scale", "needs adapter")
    if name is None:
        return Wanted() if "adapter" in body.members else None
    return Wanted(name, scale=1.0 if scale is None else scale)


def _of_lora(body: Body) -> Wanted:
    found = []
    for number, each in enumerate(body.items("lora")):
        if not isinstance(each, dict) or type(each.get("id")) is not int:
            body.refuse(f"lora[{number}]", "must be {id, scale}, with an id of GET /lora-adapters")
        scale = each.get("scale", 1.0)
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not abs(scale) <= _MOST_SCALE:
            body.refuse(f"lora[{number}].scale", f"must be a number up to {_MOST_SCALE:g}")
        found += [Wanted(number=each["id"], scale=float(scale))] if scale else []
    if len(found) > 1:
        body.refuse("lora", "has several adapters: an answer has one")
    return found[0] if found else Wanted()
