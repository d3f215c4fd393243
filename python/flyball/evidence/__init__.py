"""Statistics and verdicts, without I/O."""
