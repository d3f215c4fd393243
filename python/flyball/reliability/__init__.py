"""Measures a build, judges it with reasons, heals: see docs/reliability.md."""
