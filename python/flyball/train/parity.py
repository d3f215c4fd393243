"""Whether what is trained is what is served: logits of the trainer against Flyball's on the same tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..engine.adapter import Adapter
from ..engine.model import Model
from ..errors import Unsupported
from .decoder import Decoder
from .lora import Lora

MOST_TOKENS = 192
_MOST_DIVERGENCE = 0.05  # nats; quantized activations cost 0.001 to 0.01, a wrong rotation more than 0.5
_MOST_SHARE = 0.3  # of what the adapter changes
_NOISES = 3.0


def check_base(model: Model, decoder: Decoder, ids: Sequence[int]) -> float:
    """Mean divergence of the trainer's logits from the served ones, in nats. Raises Unsupported where it is large."""
    trained, served = _trained(decoder, ids, None), _served(model, ids, None)
    p, q = served.log_softmax(-1), trained.log_softmax(-1)
    divergence = float((p.exp() * (p - q)).sum(-1).mean())
    if not divergence <= _MOST_DIVERGENCE:
        what = f"gives other logits in training than served, {divergence:.3g} nats apart; this model cannot be trained"
        raise Unsupported(model.info.path, what)
    return divergence


def check_adapter(model: Model, decoder: Decoder, lora: Lora, adapter: Adapter, ids: Sequence[int]) -> float:
    """How far the change that the served adapter makes is from the trained one, as a share of it.

    What quantized activations cost anyway is allowed for. Raises Unsupported where the two changes differ.
    """
    bases = _trained(decoder, ids, None), _served(model, ids, None)
    trained, served = _trained(decoder, ids, lora) - bases[0], _served(model, ids, adapter) - bases[1]
    apart, change, noise = (_size(each) for each in (served - trained, trained, bases[0] - bases[1]))
    if not apart <= _MOST_SHARE * change + _NOISES * noise:
        what = f"changes the logits by {apart:.3g} otherwise than trained, where training changed them by {change:.3g}"
        raise Unsupported(adapter.path, what)
    return apart / change if change else 0.0


def _trained(decoder: Decoder, ids: Sequence[int], lora: Lora | None) -> Tensor:
    with torch.no_grad():
        return decoder.logits(decoder.hidden(torch.tensor([ids]), lora))[0].double()


def _served(model: Model, ids: Sequence[int], adapter: Adapter | None) -> Tensor:
    return torch.from_numpy(model.session(adapter=adapter).logits(ids)).double()


def _size(logits: Tensor) -> float:
    """Root mean square; what is the same for all tokens of a position changes no probability."""
    return float((logits - logits.mean(-1, keepdim=True)).square().mean().sqrt())
