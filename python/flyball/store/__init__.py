"""The server's store in SQL: keys, requests, receipts, feedback, performance, files and batches of each project."""

from __future__ import annotations

from ..errors import InvalidArgument

try:
    import alembic  # noqa: F401
    import sqlalchemy  # noqa: F401
except ImportError:
    raise InvalidArgument(
        "flyball.store", "needs the packages sqlalchemy and alembic: pip install 'flyball[serve]'"
    ) from None

from .adapters import AdapterEvent, StoredAdapter
from .admin_log import Act
from .batches import Batch, Counts, NewItem
from .cached_answers import CachedGroup
from .corrections import RouteCorrection
from .deletions import Deletion
from .examples import Conflict, Example
from .feedback import Feedback
from .histogram import Histogram
from .items import MOST_TRIES, Item
from .keys import Key, NewKey
from .live_settings import Revision
from .performance import Performance
from .plugins import StoredPlugin
from .quotas import Quota, QuotaExceeded
from .receipts import Receipt
from .removal import Removal
from .requests import Facts, Request
from .store import Authenticated, Project, Store
from .tasks import TaskPerformance
from .uploads import File

__all__ = [
    "MOST_TRIES",
    "Act",
    "AdapterEvent",
    "Authenticated",
    "Batch",
    "CachedGroup",
    "Conflict",
    "Counts",
    "Deletion",
    "Example",
    "Facts",
    "Feedback",
    "File",
    "Histogram",
    "Item",
    "Key",
    "NewItem",
    "NewKey",
    "Performance",
    "Project",
    "Quota",
    "QuotaExceeded",
    "Receipt",
    "Removal",
    "Request",
    "Revision",
    "RouteCorrection",
    "Store",
    "StoredAdapter",
    "StoredPlugin",
    "TaskPerformance",
]
