"""The journal: recorded events, their explanation and their replay."""

from .chain import Fault, Head, Report, check, files_of, follow, read
from .journal import Journal

__all__ = ["Fault", "Head", "Journal", "Report", "check", "files_of", "follow", "read"]
