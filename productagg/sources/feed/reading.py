"""Reads one document: tells its format, has its items read, and says whether they are everything."""

from collections.abc import Iterator, Mapping
from typing import BinaryIO

from productagg.sources.base import Remark, Request, SourceOffer
from productagg.sources.feed import documents, formats, table, xml_items
from productagg.sources.feed.collector import Collector
from productagg.sources.feed.documents import DocumentError
from productagg.sources.feed.heureka import HeurekaReader
from productagg.sources.feed.items import Context, ItemReader, read_text
from productagg.sources.feed.merchant import MappedReader, MerchantReader


class Reading:
    """One document, and the offers in it."""

    def __init__(self, request: Request, content_type: str, offers: BinaryIO) -> None:
        """`offers` is an empty file for what is read."""
        get = request.configuration.get
        self._content_type = content_type
        self._offers = offers
        self._expected: str = get("format") or "auto"
        self._encoding: str | None = get("encoding")
        self._delimiter: str | None = get("delimiter")
        self._mapping: Mapping[str, str] | None = get("mapping")
        self._takes_title = not get("seller")
        self._context = Context(
            seller=get("seller") or request.source_name,
            currency=get("currency"),
            country=get("country"),
            in_stock_days=get("in_stock_days") or 0,
            beyond=get("beyond") or "backorder",
        )
        self.changes_at = self._context.changes_at
        """The first time at which the same document says something else."""
        self._collector: Collector | None = None

    def read(self, body: BinaryIO) -> str | None:
        """Read the document to its end; returns why it may not be everything, or None. Raises DocumentError."""
        try:
            with documents.reading():
                doubt = self._read(documents.unpacked(body))
        except DocumentError as error:
            if self._collector is None or not self._collector.items:
                raise
            raise DocumentError(f"{error.reason} {self._collector.items} items were read before.", error.code) from None
        finally:
            self.changes_at = self._context.changes_at
        self._check_offers()
        return doubt

    def batches(self) -> Iterator[tuple[list[SourceOffer], list[Remark], list[Remark]]]:
        """The offers, rejected items and remarks until now, 1,000 items at a time. Raises DocumentError."""
        return self._collector.batches() if self._collector and self._collector.items else iter(())

    def _read(self, stream: BinaryIO) -> str | None:
        head = documents.read_head(stream)
        encoding = documents.find_encoding(head, self._content_type, self._encoding)
        if formats.is_xml(head.decode(encoding, "replace").encode(), self._expected):
            parts = documents.as_utf8(documents.blocks(stream, head), encoding)
            xml_items.read_items(parts, self._begin, self._take_title)
            return None
        stream.seek(0)
        reader = MappedReader if self._mapping else MerchantReader
        collector = self._collect(reader(self._context), "id")
        return table.read_table(stream, encoding, self._delimiter, self._mapping, collector)

    def _begin(self, root: str, namespaces: Mapping[str, str]) -> tuple[xml_items.Names, xml_items.Take]:
        found = formats.format_of(root, namespaces, self._expected)
        if found == "merchant":
            collector = self._collect(MerchantReader(self._context), "id")
        elif self._context.currency is None:
            raise DocumentError("Heureka's and Zboží's feeds state no currency: configure it.", "no_currency")
        else:
            collector = self._collect(HeurekaReader(self._context, adds_dues=found == "zbozi"), "ITEM_ID")
        return formats.names_of(found, root), collector.take

    def _collect(self, reader: ItemReader, id_field: str) -> Collector:
        self._collector = Collector(reader, id_field, self._offers)
        return self._collector

    def _take_title(self, title: str) -> None:
        """The channel's title is the seller, if it stands before the items."""
        text = read_text(title)
        if text and len(text) <= 200 and self._takes_title and self._collector and not self._collector.items:
            self._context.seller = text

    def _check_offers(self) -> None:
        """Raise DocumentError for a document without a single offer: it must not close what there was."""
        collector = self._collector
        if collector is None or not collector.items:
            raise DocumentError("The document has no items.", "no_items")
        if collector.offers:
            return
        first = collector.first_rejected
        reasons = ", ".join(sorted({remark.reason for remark in first})[:3])
        hint = ": this may be a supplemental feed" if reasons == "it has no price" else ""
        raise DocumentError(f"None of its {collector.items} items is an offer ({reasons}){hint}.", "no_offers")
