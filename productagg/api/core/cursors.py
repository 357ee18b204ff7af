"""The cursors of pages: signed positions in a list, so that clients can send only positions that we issued.

A cursor belongs to the query that it was made for. Cursors expire a day after the first page was read: keeping to the
order of the first page needs the changes since then (see catalog/listing.py), and these are not kept for ever.
"""

import hashlib
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson
from itsdangerous import BadData, Signer
from itsdangerous.encoding import base64_decode, base64_encode

from productagg.api.core.errors import ErrorCode, Problem
from productagg.catalog.product_offers import ClosedOffersCursor
from productagg.catalog.product_query import Cursor
from productagg.settings import Secret

_LIFETIME_SECONDS = 24 * 3600


class Cursors:
    """Writes and reads cursors, signed with a key that is derived from the `secret`."""

    def __init__(self, secret: Secret) -> None:
        # Derived once: the signer would derive its key for each cursor.
        key = Signer(secret.reveal(), b"productagg.cursor", key_derivation="hmac", digest_method=hashlib.sha256)
        self._signer = Signer(key.derive_key(), key_derivation="none", digest_method=hashlib.sha256)

    def write(self, position: Cursor | ClosedOffersCursor, query: Mapping[str, Any], began: int) -> str:
        """A cursor for a position in the answers to a query. `query` is all parameters; `cursor` does not count.

        `began` is when the first page was read, in seconds since 1970.
        """
        content = orjson.dumps([began, _digest(query), *position])
        return self._signer.sign(base64_encode(content)).decode()

    def read(self, cursor: str, query: Mapping[str, Any], kind: type[Any] = Cursor) -> tuple[Any, int]:
        """The position, and when the first page was read. `kind` is its type, which starts with a key and an id.

        Raises Problem if the cursor is not ours, too old, or of another query.
        """
        try:
            began, digest, key, id_, *rest = orjson.loads(base64_decode(self._signer.unsign(cursor)))
        except (BadData, ValueError):
            raise Problem(ErrorCode.INVALID_CURSOR, "This cursor was not issued by this service.") from None
        # Not itsdangerous' own time stamp: it refuses cursors of a host whose clock is a second ahead.
        if time.time() - began > _LIFETIME_SECONDS:
            detail = "The first page is more than a day old: start again with the first page."
            raise Problem(ErrorCode.INVALID_CURSOR, detail)
        if digest != _digest(query):
            detail = "The cursor belongs to other parameters: only 'cursor' may change."
            raise Problem(ErrorCode.INVALID_CURSOR, detail)
        return kind(key, UUID(id_), *rest), began


def _digest(query: Mapping[str, Any]) -> str:
    parameters = {name: value for name, value in query.items() if name != "cursor"}
    return hashlib.blake2b(orjson.dumps(parameters, option=orjson.OPT_SORT_KEYS), digest_size=9).hexdigest()
