"""A load generator that keeps due times: flows of requests, what they took, and a verdict on it."""

from .driver import run
from .plan import Plan, read_plan

__all__ = ["Plan", "read_plan", "run"]
