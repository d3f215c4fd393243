"""Automatic management of sessions."""
