"""What is remembered of users: facts and documents in pieces, found by their words or compared by their vectors."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from ..errors import InvalidArgument
from . import checks
from .performance import day_of
from .quotas import Quotas
from .schema import memory_chunks, memory_counts, memory_items, memory_vectors
from .scope import Condition, Scope, found, record

KINDS = ("fact", "document")
MOST_FACTS = 500  # of a user, those that were replaced not counted
MOST_FACT = 1000  # characters
MOST_CHARACTERS = 2 << 20  # of one document
MOST_TOGETHER = 32 << 20  # characters of a user's documents
MOST_CANDIDATES = 2000  # pieces that a search looks at, the newest ones
_PROJECT_SHIFT = 32  # of the numbers in SQLite's index: a project's are one range

index = sa.table("memory_index", sa.column("rowid", sa.BigInteger))


@dataclass(frozen=True)
class Item:
    """A fact or a document, without its text.

    owner     the user
    slot      what a fact is about: a later one of the slot replaces it, at the time `replaced`
    source    user (asked for), rule (found in a message) or file
    hash      SHA-256 over salt and text: it shows whoever has both that this text was meant, and nobody what it was
    """

    id: str
    owner: str
    kind: str
    slot: str | None
    name: str | None
    source: str
    n_characters: int
    salt: str
    hash: str
    created: int
    replaced: int | None


@dataclass(frozen=True)
class Piece:
    """A piece of an item's text that begins at its character `start`; `folded` is what searches see."""

    item_id: str
    number: int
    start: int
    text: str
    folded: str


@dataclass(frozen=True)
class Counts:
    """Of some days: prompts that asked the memory, those that got something; the same of examples; exact repeats."""

    n_prompts: int = 0
    n_recalled: int = 0
    n_asked_examples: int = 0
    n_examples: int = 0
    n_repeats: int = 0


class Memories:
    """What is remembered in a project. Each method is about one owner and sees no other's rows."""

    def __init__(self, scope: Scope, quotas: Quotas) -> None:
        self._scope = scope
        self._quotas = quotas

    def put(
        self,
        owner: str,
        kind: str,
        pieces: Sequence[tuple[int, str, str]],
        *,
        slot: str | None = None,
        name: str | None = None,
        source: str = "user",
    ) -> Item:
        """Store an item of these pieces: (start, text, folded). The earlier fact of its slot is marked as replaced.

        Raises InvalidArgument where the owner has too much already.
        """
        text, salt = _text(pieces), secrets.token_hex(16)
        check_length(checks.one_of("kind", kind, KINDS), len(text))
        item = Item(
            "mem_" + secrets.token_hex(12), checks.text("user", owner), kind, checks.optional("slot", slot),
            checks.user_text("name", name), source, len(text), salt, hash_of(salt, text), self._scope.clock(), None,
        )  # fmt: skip
        with self._scope.database.writing() as connection:
            if slot is not None:
                same = (memory_items.c.slot == slot, memory_items.c.replaced.is_(None))
                connection.execute(
                    self._scope.update(memory_items, memory_items.c.owner == owner, *same).values(replaced=item.created)
                )
            self._check_room(connection, item)
            self._scope.insert(connection, memory_items, [vars(item)])
            numbers = self._numbers(connection, len(pieces))
            rows = [
                {"item_id": item.id, "number": i, "owner": owner, "start": start, "text": text, "folded": folded}
                | {"index_row": number}
                for i, ((start, text, folded), number) in enumerate(zip(pieces, numbers, strict=True))
            ]
            self._scope.insert(connection, memory_chunks, rows)
        return item

    def get(self, owner: str, id: str) -> Item:
        """An item. Raises NotFound."""
        mine = (memory_items.c.owner == owner, memory_items.c.id == id)
        with self._scope.database.reading() as connection:
            return found(self._scope.one(connection, memory_items, *mine, kind=Item), "memory", id)

    def all(self, owner: str, kind: str | None = None, *, replaced: bool = False) -> Iterator[Item]:
        """The owner's items, oldest first; `replaced`: also facts that later ones have replaced."""
        where: list[Condition] = [memory_items.c.owner == owner]
        if kind is not None:
            where.append(memory_items.c.kind == kind)
        if not replaced:
            where.append(memory_items.c.replaced.is_(None))
        return (record(Item, row) for row in self._scope.pages(memory_items, *where, key=("created", "id")))

    def owners(self) -> dict[str, int]:
        """Every owner with the number of their items."""
        with self._scope.database.reading() as connection:
            rows = connection.execute(self._scope.count(memory_items, memory_items.c.owner)).all()
        return {row[0]: row[1] for row in sorted(map(tuple, rows))}

    def pieces(self, owner: str, ids: Collection[str]) -> list[Piece]:
        """The pieces of these items, in order."""
        where = (memory_chunks.c.owner == owner, memory_chunks.c.item_id.in_(list(ids)))
        order = (memory_chunks.c.item_id, memory_chunks.c.number)
        with self._scope.database.reading() as connection:
            rows = connection.execute(self._scope.select(memory_chunks, *where).order_by(*order)).mappings().all()
        return [record(Piece, row) for row in rows]

    def candidates(self, owner: str, terms: Sequence[str]) -> tuple[list[Piece], int]:
        """The newest pieces of documents that have any of these terms (folded), and how many pieces there are."""
        same = (memory_items.c.project_id == memory_chunks.c.project_id, memory_items.c.id == memory_chunks.c.item_id)
        mine = self._scope.select(memory_chunks, memory_chunks.c.owner == owner)
        whole = mine.join(memory_items, sa.and_(*same)).where(memory_items.c.kind == "document")
        order = (memory_items.c.created.desc(), memory_chunks.c.item_id, memory_chunks.c.number)
        with self._scope.database.reading() as connection:
            n_all = connection.execute(whole.with_only_columns(sa.func.count())).scalar_one()
            rows = connection.execute(whole.where(self._has_any(terms)).order_by(*order).limit(MOST_CANDIDATES))
            return [record(Piece, row) for row in rows.mappings()], n_all

    def put_vectors(self, fingerprint: str, vectors: Sequence[tuple[str, int, bytes]]) -> None:
        """Store vectors of the model with this fingerprint: (item, number of the piece, little-endian float32).

        Pieces that are gone, and those that have one of this model, are left out.
        """
        with self._scope.database.writing() as connection:
            ids = sorted({item for item, _, _ in vectors})
            there = {
                (row["item_id"], row["number"])
                for row in connection.execute(
                    self._scope.select(memory_chunks, memory_chunks.c.item_id.in_(ids))
                ).mappings()
            }
            for item, number, vector in vectors:
                if (item, number) in there:
                    row = {"item_id": item, "number": number, "fingerprint": fingerprint, "vector": vector}
                    self._scope.insert_new(connection, memory_vectors, row)

    def vectors(self, owner: str, fingerprint: str) -> list[tuple[str, int, bytes]]:
        """Vectors of this model alone, of the owner's pieces."""
        mine = self._scope.select(memory_items, memory_items.c.owner == owner).with_only_columns(memory_items.c.id)
        where = (memory_vectors.c.fingerprint == fingerprint, memory_vectors.c.item_id.in_(mine))
        order = (memory_vectors.c.item_id, memory_vectors.c.number)
        with self._scope.database.reading() as connection:
            rows = connection.execute(self._scope.select(memory_vectors, *where).order_by(*order)).mappings().all()
        return [(row["item_id"], row["number"], row["vector"]) for row in rows]

    def count(self, counts: Counts) -> None:
        """Add to the counts of today."""
        row = {name: int(n) for name, n in vars(counts).items()}
        with self._scope.database.writing() as connection:
            self._scope.add(connection, memory_counts, {"day": day_of(self._scope.clock()), **row})

    def counts(self) -> Counts:
        """The sums of all days."""
        sums = [sa.func.coalesce(sa.func.sum(memory_counts.c[name]), 0) for name in vars(Counts())]
        with self._scope.database.reading() as connection:
            row = connection.execute(self._scope.select(memory_counts).with_only_columns(*sums)).one()
        return Counts(*map(int, row))

    def _check_room(self, connection: sa.Connection, item: Item) -> None:
        self._quotas.check_room(connection, item.n_characters)
        mine = self._scope.select(
            memory_items, memory_items.c.owner == item.owner, memory_items.c.kind == item.kind,
            memory_items.c.replaced.is_(None),
        )  # fmt: skip
        size = (sa.func.count(), sa.func.coalesce(sa.func.sum(memory_items.c.n_characters), 0))
        n, n_characters = connection.execute(mine.with_only_columns(*size)).one()
        if item.kind == "fact" and n >= MOST_FACTS:
            raise InvalidArgument("memory", f"has {n} facts of this user, the most that it takes; forget some")
        if item.kind == "document" and n_characters + item.n_characters > MOST_TOGETHER:
            what = f"has {n_characters} characters of this user's documents and takes {MOST_TOGETHER}; forget some"
            raise InvalidArgument("memory", what)

    def _numbers(self, connection: sa.Connection, n: int) -> Sequence[int | None]:
        """The next ones in SQLite's index, whose writer is alone; PostgreSQL's index needs none."""
        if not self._scope.database.is_sqlite:
            return [None] * n
        last = self._scope.select(memory_chunks).with_only_columns(sa.func.max(memory_chunks.c.index_row))
        first = (connection.execute(last).scalar() or self._scope.project_id << _PROJECT_SHIFT) + 1
        return range(first, first + n)

    def _has_any(self, terms: Sequence[str]) -> Condition:
        """Of terms shorter than a trigram, which no index has, the pieces are read."""
        if not self._scope.database.is_sqlite or min(map(len, terms)) < 3:
            return sa.or_(*(memory_chunks.c.folded.contains(term, autoescape=True) for term in terms))
        first = self._scope.project_id << _PROJECT_SHIFT
        wanted = " OR ".join('"' + term.replace('"', '""') + '"' for term in terms)
        matching = sa.select(index.c.rowid).where(
            sa.literal_column("memory_index").op("MATCH")(wanted),
            index.c.rowid.between(first, first + (1 << _PROJECT_SHIFT) - 1),
        )
        return memory_chunks.c.index_row.in_(matching)


def hash_of(salt: str, text: str) -> str:
    """The hash that an item's deletion record names."""
    return hashlib.sha256(salt.encode() + text.encode("utf-8", "surrogatepass")).hexdigest()


def check_length(kind: str, n: int) -> None:
    """Raise InvalidArgument for a text of so many characters that an item of this kind does not have."""
    most = MOST_FACT if kind == "fact" else MOST_CHARACTERS
    if not 0 < n <= most:
        raise InvalidArgument("text", f"has {n} characters, must have 1 to {most}")


def _text(pieces: Sequence[tuple[int, str, str]]) -> str:
    """The whole text, whose pieces overlap."""
    parts: list[str] = []
    n = 0
    for start, text, _ in pieces:
        parts.append(text[n - start :])
        n += len(parts[-1])
    return "".join(parts)
