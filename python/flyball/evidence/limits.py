"""Limits that several gates share, so that a pilot, a server and service levels promise users the same."""

from __future__ import annotations

TURN_MS = 3000.0  # a turn of several agents, and so each first token in it
MAP_MS = 400.0  # a helper's answer with the function that it chose
CONFLICTS = 2.0  # of a turn
MISSES = 0.05  # share of turns, answers or iterations that may miss a limit
