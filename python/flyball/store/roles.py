"""What whoever asks may do: scopes, and the roles that have them."""

from __future__ import annotations

from collections.abc import Collection

from ..errors import InvalidArgument

SCOPES = {
    "generate": "answers, embeddings, tokens and batches",
    "models": "which models there are",
    "files": "files and the state of batches",
    "memory": "what is remembered of the user",
    "feedback": "ratings and corrections",
    "examples": "what may become training data",
    "receipts": "receipts and their verification",
    "observe": "status, metrics and settings of the server",
    "audit": "heads of the journal, and the log of administrative acts",
    "admin": "projects, tokens, quotas and caches",
}
ROLES = {
    "owner": frozenset(SCOPES),
    "member": frozenset({"generate", "models", "files", "memory", "feedback", "receipts"}),
    "auditor": frozenset({"models", "receipts", "observe", "audit"}),
}


def checked(role: str, scopes: Collection[str] | None) -> tuple[str, str | None]:
    """A role and the scopes to which it is narrowed (None: it is not) as they are stored. Raises InvalidArgument."""
    if role not in ROLES:
        raise InvalidArgument("role", f"is {role!r}, must be one of {', '.join(ROLES)}")
    if scopes is None:
        return role, None
    if not scopes or not set(scopes) <= ROLES[role]:
        had = ", ".join(each for each in SCOPES if each in ROLES[role])
        raise InvalidArgument("scopes", f"are {', '.join(scopes) or 'none'}; a {role} has {had}")
    return role, " ".join(each for each in SCOPES if each in scopes)


def granted(role: str, scopes: str | None) -> frozenset[str]:
    """The scopes of a stored role; none of one that this version does not know."""
    all_of = ROLES.get(role, frozenset())
    return all_of if scopes is None else all_of & frozenset(scopes.split())
