"""Whether it still holds: one command that measures, judges with a reason and heals (docs/reliability.md)."""
