"""What happened, and its replay."""

from .journal import Fault, Head, Journal, Report, check, files_of, follow, read

__all__ = ["Fault", "Head", "Journal", "Report", "check", "files_of", "follow", "read"]
