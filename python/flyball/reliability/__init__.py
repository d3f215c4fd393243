"""Measure a build, judge it with reasons, and bound a harmful policy; see docs/reliability.md."""
