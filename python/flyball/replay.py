"""The former place of flyball.journal.replay, for one version."""

import warnings

from .journal.replay import Decided, Difference, Report, receipts, replay

__all__ = ["Decided", "Difference", "Report", "receipts", "replay"]

warnings.warn("flyball.replay is flyball.journal.replay now", DeprecationWarning, stacklevel=2)
