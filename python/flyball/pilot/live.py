"""The models that a live pilot asks: one for each variant, whose files were read ahead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ..engine.model import Model
from .agents import NAMES
from .models import AgentModel, InProcess, Server
from .profiles import prefetch

Open = Callable[[str], Model]


def in_process(
    variants: Mapping[str, str], open_model: Open, n_bytes: int
) -> tuple[dict[str, AgentModel], dict[str, int]]:
    """The model of each agent, and the bytes that the warm-up read by variant. Each variant is opened once.

    n_bytes  that are read of a model's packed copy, if it has one, else of its file; 0: nothing
    """
    opened: dict[str, AgentModel] = {}
    read: dict[str, int] = {}
    for name in dict.fromkeys(variants.values()):
        model = open_model(name)
        if n_bytes:
            read[name] = prefetch(Path(model.info.packed_copy or model.info.path), n_bytes)
        opened[name] = InProcess(model)
    return {agent: opened[variants[agent]] for agent in NAMES}, read


def on_server(variants: Mapping[str, str], default: str, url: str, key: str) -> dict[str, AgentModel]:
    """The model of each agent by its name on a server, where there is nothing to read ahead.

    default  name of the variant "default"; "": the only one that the server has
    """
    opened = {
        name: Server(url, default if name == "default" else name, key) for name in dict.fromkeys(variants.values())
    }
    return {agent: opened[variants[agent]] for agent in NAMES}
