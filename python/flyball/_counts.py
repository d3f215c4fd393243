"""Types of the dictionaries of counters that the binding returns."""

from typing import TypedDict


class PhaseCounts(TypedDict):
    """Counters of a phase."""

    calls: int
    tokens: int
    cycles: int
    matrix_cycles: int
    attention_cycles: int


class SpeculationCounts(TypedDict):
    """Counters of draft tokens."""

    calls: int
    drafted: int
    accepted: int


class GenerationCounts(TypedDict):
    """Counters of a generation."""

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
    """Counters of a session."""

    prefill: PhaseCounts
    decode: PhaseCounts
    speculation: SpeculationCounts
    sample_cycles: int
    cache_resets: int
    generations_started: int
    generations_completed: int
    last_first_token_cycles: int
    guard_trips: int
    governor_decisions: str
