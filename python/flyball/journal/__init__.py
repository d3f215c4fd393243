"""The journal: recorded events, their explanation and their replay."""

from .journal import Fault, Head, Journal, Report, check, files_of, follow, read

__all__ = ["Fault", "Head", "Journal", "Report", "check", "files_of", "follow", "read"]
