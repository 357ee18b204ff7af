"""The pages of one fetch become snapshots, and the last one says whether they are everything."""

from collections.abc import Iterator
from typing import Any

from productagg.sources.base import Remark, Request, Snapshot, SourceOffer
from productagg.sources.json_api.expressions import EvaluationError, Expression, json_type
from productagg.sources.json_api.items import ItemReader, Read, Rejected
from productagg.sources.json_api.pages import Page
from productagg.sources.web import NO_VALIDATORS

_Key = tuple[str, str]
# Equals no offer's hash.
_CONTRADICTORY = None


class Reading:
    """Reads the pages of one fetch."""

    def __init__(self, request: Request, locator: str | None) -> None:
        """`locator` is that of the one product that is asked for; None: the source lists all."""
        configuration = request.configuration
        self._is_list = locator is None
        self._reader = ItemReader(configuration, request.source_name, locator)
        self._variants = _expression("variants", configuration["variants"])
        self._total = _expression("total", configuration["total"])
        self._stated_total: Any = None
        self._items = self._offers = self._doubtful = self._of_others = 0
        # The hashes of the offers until now.
        self._seen: dict[_Key, int | None] = {}
        self._has_changed = False
        self._first_doubt = ""
        self._secret = request.secret

    def read(self, page: Page) -> Snapshot:
        """The offers of a page. Raises EvaluationError."""
        self._items += len(page.items)
        if self._total:
            self._stated_total = self._total.evaluate(page.document)
        read: list[Read] = []
        rejected: list[Remark] = []
        for position, item in enumerate(page.items, 1):
            self._read_item(item, f"page {page.number}, item {position}", page.url, read, rejected)
        remarks = [Remark(offer.external_id, reason) for offer, reasons in read for reason in reasons]
        offers = self._unique([offer for offer, _ in read], rejected, remarks)
        self._offers += len(offers)
        doubts = list(self._doubts()) if page.is_last else []
        complete = page.is_last and not doubts
        return Snapshot(
            offers,
            complete=complete,
            # Without validators, the same document is read again.
            validators=page.validators if complete else NO_VALIDATORS,
            rejected=rejected,
            remarks=remarks,
            incomplete_because="; ".join(doubts) or None,
        )

    def _read_item(self, item: Any, place: str, base: str, read: list[Read], rejected: list[Remark]) -> None:
        """Append the item's offers, or why it is none."""
        try:
            scopes = self._scopes(item)
        except (EvaluationError, Rejected) as error:
            self._reject(place, error, rejected)
            return
        for scope in scopes:
            try:
                if self._reader.is_of_this_product(scope):
                    read.append(self._reader.read(scope, base))
                else:
                    self._of_others += 1
            except (EvaluationError, Rejected) as error:
                self._reject(self._reader.name_of(scope) or place, error, rejected)

    def _reject(self, item: str, error: EvaluationError | Rejected, rejected: list[Remark]) -> None:
        rejected.append(Remark(item, str(error)))
        if not isinstance(error, Rejected) or error.is_doubtful:
            self._doubt(str(error))

    def _doubt(self, reason: str) -> None:
        self._doubtful += 1
        if not self._first_doubt:
            # Some sources repeat the secret in what they send, and this is stored.
            self._first_doubt = f" ({reason.replace(self._secret, '…') if self._secret else reason})"

    def _scopes(self, item: Any) -> list[Any]:
        """What the fields' expressions are evaluated on, for each offer of the item."""
        if self._variants is None:
            return [item]
        variants = self._variants.evaluate(item)
        if not isinstance(variants, list):
            raise Rejected(f"variants: it is {json_type(variants)}, not a list")
        return [{"item": item, "variant": variant} for variant in variants]

    def _unique(self, offers: list[SourceOffer], rejected: list[Remark], remarks: list[Remark]) -> list[SourceOffer]:
        """The offers without repetitions. An id that stands for different offers of a page identifies none of them."""
        contents: dict[_Key, set[int]] = {}
        for offer in offers:
            contents.setdefault(_key(offer), set()).add(_hash(offer))
        unique: list[SourceOffer] = []
        for offer in offers:
            key, content = _key(offer), _hash(offer)
            if len(contents[key]) > 1:
                reason = "several items have its id and differ"
                self._doubt(reason)
                self._seen[key] = _CONTRADICTORY
                rejected.append(Remark(offer.external_id, reason))
            elif key not in self._seen:
                self._seen[key] = content
                unique.append(offer)
            elif self._seen[key] == content:
                remarks.append(Remark(offer.external_id, "it stands more than once, and always says the same"))
            else:
                self._has_changed = True
                rejected.append(Remark(offer.external_id, "it stands on an earlier page too, and differs"))
        return unique

    def _doubts(self) -> Iterator[str]:
        """Why the offers may not be everything that the source has."""
        if self._is_list and not self._items:
            yield "the list has no items"
        elif self._items and not self._offers and (self._is_list or self._doubtful or self._of_others):
            whose = "" if self._is_list else " of this product"
            yield f"none of its {self._items} items is an offer{whose}{self._first_doubt}"
        elif self._doubtful and not self._is_list:
            yield f"{self._doubtful} of its items could not be read{self._first_doubt}"
        if self._has_changed:
            yield "the list changed while it was read"
        if self._total and not self._agrees_with_total():
            yield f"it says that it has {str(self._stated_total)[:30]} items, and has {self._items}"

    def _agrees_with_total(self) -> bool:
        total = self._stated_total
        return isinstance(total, int | str) and not isinstance(total, bool) and str(total).strip() == str(self._items)


def _expression(name: str, text: str | None) -> Expression | None:
    return None if text is None else Expression(name, text)


def _key(offer: SourceOffer) -> _Key:
    return offer.locator, offer.external_id


def _hash(offer: SourceOffer) -> int:
    """Of what matters. What the items say of the product may differ: some sources list it once for each category."""
    return hash(offer[:-1])
