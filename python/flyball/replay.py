"""The former place of flyball.journal.replay, for one version."""

from .journal.replay import Decided, Difference, Report, receipts, replay

__all__ = ["Decided", "Difference", "Report", "receipts", "replay"]
