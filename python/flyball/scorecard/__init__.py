"""Scorecards: may a small model stay, or is a bigger one needed."""
