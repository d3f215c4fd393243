"""Write docs/reasons.md from the core's registry.

python -m ops.reasons_page docs/reasons.md
"""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

from flyball.journal.events import REASONS

HEAD = """# Reasons

Every event and decision of Flyball has one of these reasons. The list is closed: it is `cpp/journal/reasons.h`, from
which `make reasons` writes this page.
"""


def page() -> str:
    """The whole page: a table for each family."""
    parts = [HEAD]
    for family, rows in groupby(REASONS.values(), key=lambda row: row.family):
        table = ["| reason_id | event | meaning |", "|---|---|---|"]
        table += [f"| `{row.id}` | `{row.event}` | {row.meaning} |" for row in rows]
        parts.append(f"## {family}\n\n" + "\n".join(table) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())
