"""Serving: HTTP for the clients that people already use, with answers that can be checked."""
