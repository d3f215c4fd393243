"""Numbers in, verdicts out."""
