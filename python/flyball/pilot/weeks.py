"""Weeks, as the weekly page has them."""

from __future__ import annotations

from datetime import UTC, datetime


def week_of(seconds: float) -> str:
    """The ISO week of a time in seconds since 1970, in UTC."""
    try:
        year, week, _ = datetime.fromtimestamp(seconds, UTC).isocalendar()
    except (ValueError, OverflowError, OSError):
        return "no date"
    return f"{year}-W{week:02}"
