"""Routing: which of the served models, and which of their adapters, answers a request."""
