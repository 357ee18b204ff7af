"""The adapter `feed`: one document with the offers of many products.

It reads Google Merchant's data (RSS, Atom, tables), Heureka's and Zboží's XML, and any table by a mapping of its
columns. The document is stored, then read once, in constant memory: see documents.py and collector.py.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from tempfile import TemporaryFile
from typing import BinaryIO, ClassVar

import colander

from productagg.sources.base import Failure, NotModified, Outcome, Request, Snapshot
from productagg.sources.feed import documents
from productagg.sources.feed.configuration import Configuration
from productagg.sources.feed.documents import DocumentError
from productagg.sources.feed.items import MAX_ID_LENGTH, Rejected, read_id
from productagg.sources.feed.reading import Reading
from productagg.sources.web import NO_VALIDATORS, Validators, WebError

_UNTIL = " until "


class FeedAdapter:
    """See base.Adapter."""

    title: ClassVar[str] = "Feed: Google Merchant, Heureka, Zboží, CSV"
    whole_document: ClassVar[bool] = True
    configuration_schema: ClassVar[type[colander.MappingSchema]] = Configuration
    locator: ClassVar[str] = "id of the item in the feed"

    def check_locator(self, locator: str) -> str:
        """The item's id, trimmed. Raises ValueError."""
        try:
            return read_id(locator)
        except Rejected:
            raise ValueError(f"An item's id has 1 to {MAX_ID_LENGTH} characters, all of them printable.") from None

    def fetch(self, request: Request) -> Iterator[Outcome]:
        """See base.Adapter."""
        known = _still_true(request.validators)
        with TemporaryFile() as body:
            try:
                received = _receive(request, known, body)
            except WebError as error:
                yield Failure(error.reason, error.code, error.retry_at)
                return
            if received is None:
                yield NotModified()
                return
            validators, content_type = received
            with TemporaryFile() as offers:
                yield from _outcomes(Reading(request, content_type, offers), body, validators)


def _still_true(validators: Validators) -> Validators:
    """The validators, unless what the same document means has changed since: a sale has begun or ended."""
    _, _, until = (validators.digest or "").partition(_UNTIL)
    return NO_VALIDATORS if until and datetime.now(UTC).isoformat() >= until else validators


def _receive(request: Request, known: Validators, body: BinaryIO) -> tuple[Validators, str] | None:
    """Store the body; returns its validators and Content-Type. None: it is not modified. Raises WebError."""
    url = request.configuration["url"]
    with request.web.get(url, validators=known, max_bytes=documents.MAX_BYTES) as response:
        if response.not_modified:
            return None
        digest = documents.keep(response, body)
        if digest == (known.digest or "").partition(_UNTIL)[0]:
            return None
        return response.validators._replace(digest=digest), response.headers.get("content-type", "")


def _outcomes(reading: Reading, body: BinaryIO, validators: Validators) -> Iterator[Outcome]:
    doubt, failure = None, None
    try:
        doubt = reading.read(body)
    except DocumentError as error:
        failure = Failure(error.reason, error.code)
    if until := reading.changes_at:
        validators = validators._replace(digest=f"{validators.digest}{_UNTIL}{until.astimezone(UTC).isoformat()}")
    try:
        yield from _snapshots(reading, validators, failure.reason if failure else doubt)
    except DocumentError as error:
        failure = Failure(error.reason, error.code)
    if failure:
        yield failure


def _snapshots(reading: Reading, validators: Validators, doubt: str | None) -> Iterator[Snapshot]:
    """What was read, in snapshots; the last one is complete unless there is a doubt. Raises DocumentError."""
    last = None
    for offers, rejected, remarks in reading.batches():
        if last:
            yield last
        last = Snapshot(offers, complete=False, rejected=rejected, remarks=remarks)
    if last and doubt:
        # Without validators: the same document is read again.
        yield replace(last, incomplete_because=doubt)
    elif last:
        yield replace(last, complete=True, validators=validators)
