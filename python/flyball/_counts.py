"""What the core counts: the dictionaries that the binding gives, as types."""

from typing import TypedDict


class PhaseCounts(TypedDict):
    """A phase as the core counts it."""

    calls: int
    tokens: int
    cycles: int
    matrix_cycles: int
    attention_cycles: int


class SpeculationCounts(TypedDict):
    """Guesses as the core counts them."""

    calls: int
    drafted: int
    accepted: int


class GenerationCounts(TypedDict):
    """A generation as the core counts it."""

    prefill: PhaseCounts
    decode: PhaseCounts
    speculation: SpeculationCounts
    sample_cycles: int
    prompt_tokens: int
    cached_tokens: int
    shared_tokens: int
    generated_tokens: int
    first_token_cycles: int
    total_cycles: int


class SessionCounts(TypedDict):
    """A session as the core counts it."""

    prefill: PhaseCounts
    decode: PhaseCounts
    speculation: SpeculationCounts
    sample_cycles: int
    cache_resets: int
    generations_started: int
    generations_completed: int
    last_first_token_cycles: int
