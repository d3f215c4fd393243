"""Models of the Hugging Face hub: what a repository has, and bringing it here whole."""

from .download import Pulled, pull
from .reference import Reference

__all__ = ["Pulled", "Reference", "pull"]
