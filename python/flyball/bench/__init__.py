"""Benchmark packs: the same cases, run again elsewhere or by another build, and compared (docs/benchmark-pack.md)."""
