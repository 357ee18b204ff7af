"""The offers of one document, kept on disk until all are known: only then is it known which ids stand twice.

Ids must be unique. Where one stands twice and its offers are equal, the first is taken; where they differ, none is: a
wrong price is worse than none. Memory holds 8 bytes for each item, a hash of its id; the offers are lines of JSON in a
temporary file, which is read once more (twice if ids are repeated) when the document is at its end.
"""

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import orjson

from productagg.sources.base import ProductFacts, Remark, SourceOffer
from productagg.sources.feed.documents import DocumentError
from productagg.sources.feed.items import Fields, ItemReader, Rejected, Row

BATCH = 1000
MAX_ITEMS = 5_000_000
MAX_REPEATED = 100_000
"""Ids that stand twice. With more, the ids are no ids."""
_GROUPS = 64
_Batch = tuple[list[Row], list[tuple[str, str]], list[tuple[str, str]]]


class Collector:
    """Takes items one by one, then returns the offers in batches."""

    def __init__(self, reader: ItemReader, id_field: str, file: BinaryIO) -> None:
        self.reader = reader
        self.items = 0
        self.offers = 0
        self.first_rejected: list[Remark] = []
        """A few of the rejected items."""
        self._id_field = id_field
        self._file = file
        self._rows: list[Row] = []
        self._rejected: list[Remark] = []
        # In groups, so that a set of one group is small.
        self._hashes = [array("q") for _ in range(_GROUPS)]

    def take(self, fields: Fields, parts: list[Fields], repeated: list[tuple[str, str]]) -> None:
        """Read an item. Raises DocumentError if there are too many."""
        self.items += 1
        try:
            row = self.reader.read(fields, parts, repeated)
        except Rejected as error:
            self._reject(fields.get(self._id_field, "").strip()[:200] or f"item {self.items}", str(error))
        else:
            self.offers += 1
            self._rows.append(row)
            hashed = hash(row[0])
            self._hashes[hashed % _GROUPS].append(hashed)
        if self.items % BATCH == 0:
            self._flush()

    def skip(self, reason: str) -> None:
        """Count an item whose fields cannot be told apart. Raises DocumentError if there are too many."""
        self.items += 1
        self._reject(f"item {self.items}", reason)
        if self.items % BATCH == 0:
            self._flush()

    def _reject(self, item: str, reason: str) -> None:
        remark = Remark(item, reason)
        self._rejected.append(remark)
        if len(self.first_rejected) < 20:
            self.first_rejected.append(remark)

    def _flush(self) -> None:
        if self.items > MAX_ITEMS:
            raise DocumentError(f"The document has more than {MAX_ITEMS} items.", "too_large")
        remarks = self.reader.context.remarks
        self._file.write(orjson.dumps((self._rows, _plain(self._rejected), _plain(remarks))))
        self._file.write(b"\n")
        self._rows, self._rejected = [], []
        remarks.clear()

    def batches(self) -> Iterator[tuple[list[SourceOffer], list[Remark], list[Remark]]]:
        """The offers, the rejected items and the remarks, 1,000 items at a time; at least one batch.

        Raises DocumentError if too many ids are repeated.
        """
        self._flush()
        repeated = self._repeated()
        conflicts = self._conflicts(repeated) if repeated else frozenset()
        seen: set[str] = set()
        for rows, rejected, remarks in self._stored():
            if repeated:
                rows, again, contradictory = _unique(rows, repeated, conflicts, seen)
                remarks += [(item, "it stands more than once, and always says the same") for item in again]
                rejected += [(item, "several items have its id and differ") for item in contradictory]
            yield [_offer(row) for row in rows], list(map(Remark._make, rejected)), list(map(Remark._make, remarks))

    def _stored(self) -> Iterator[_Batch]:
        self._file.seek(0)
        for line in self._file:
            yield orjson.loads(line)

    def _repeated(self) -> frozenset[int]:
        """The hashes that occur more than once."""
        found: set[int] = set()
        for group in self._hashes:
            if len(set(group)) < len(group):
                found.update(hashed for hashed, times in Counter(group).items() if times > 1)
        if len(found) > MAX_REPEATED:
            raise DocumentError(f"{len(found)} ids stand more than once: they identify no items.", "repeated_ids")
        return frozenset(found)

    def _conflicts(self, repeated: frozenset[int]) -> frozenset[str]:
        """The ids whose offers differ. What the items say of the product may differ: a feed lists it by categories."""
        first: dict[str, int] = {}
        conflicts: set[str] = set()
        for rows, _, _ in self._stored():
            for row in rows:
                if hash(row[0]) in repeated:
                    content = hash(tuple(row[:-1]))
                    if first.setdefault(row[0], content) != content:
                        conflicts.add(row[0])
        return frozenset(conflicts)


def _unique(
    rows: Sequence[Row], repeated: frozenset[int], conflicts: frozenset[str], seen: set[str]
) -> tuple[list[Row], list[str], list[str]]:
    """The rows without repetitions, and the ids of those left out: as equal, and as contradictory."""
    unique: list[Row] = []
    again: list[str] = []
    contradictory: list[str] = []
    for row in rows:
        item = row[0]
        if hash(item) not in repeated:
            unique.append(row)
        elif item in conflicts:
            contradictory.append(item)
        elif item in seen:
            again.append(item)
        else:
            seen.add(item)
            unique.append(row)
    return unique, again, contradictory


def _plain(remarks: list[Remark]) -> list[tuple[str, str]]:
    # orjson writes tuples, but none of their subclasses.
    return [(remark.item, remark.reason) for remark in remarks]


def _offer(row: Row) -> SourceOffer:
    row[-1] = ProductFacts._make(row[-1])  # type: ignore[index]
    return SourceOffer._make(row)
