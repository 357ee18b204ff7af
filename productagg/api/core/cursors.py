"""The cursors of paging: where a page begins, signed, so that nobody can send a place that we did not give.

A cursor goes with the question that it was made for. Those of one walk through the pages are good until a day after the
first page: the changes since then are needed to keep to its order (see listing.py), and are not kept for good.
"""

import hashlib
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson
from itsdangerous import BadData, Signer
from itsdangerous.encoding import base64_decode, base64_encode

from productagg.api.core.errors import Problem
from productagg.catalog.product_offers import ClosedOffersCursor
from productagg.catalog.product_query import Cursor
from productagg.settings import Secret

_GOOD_FOR_SECONDS = 24 * 3600


class Cursors:
    """Writes and reads cursors, with a key of their own that comes from the `secret`."""

    def __init__(self, secret: Secret) -> None:
        # Once: the signer would derive its key for each. The 2: names are folded in another way since migration 0009.
        key = Signer(secret.reveal(), b"productagg.cursor.2", key_derivation="hmac", digest_method=hashlib.sha256)
        self._signer = Signer(key.derive_key(), key_derivation="none", digest_method=hashlib.sha256)

    def write(self, place: Cursor | ClosedOffersCursor, question: Mapping[str, Any], began: int) -> str:
        """A cursor for a place among the answers to a question, which is all parameters but the cursor.

        `began` is when the first page was read, in seconds since 1970.
        """
        said = orjson.dumps([began, _digest(question), *place])
        return self._signer.sign(base64_encode(said)).decode()

    def read(self, cursor: str, question: Mapping[str, Any], kind: type[Any] = Cursor) -> tuple[Any, int]:
        """The place, and when it all began. Raises Problem if it is none of ours, too old, or of another question.

        `kind` is the type of the places among these answers; each begins with a key and an id.
        """
        try:
            began, digest, key, id_, *rest = orjson.loads(base64_decode(self._signer.unsign(cursor)))
        except (BadData, ValueError):
            raise Problem("invalid-cursor", "This cursor was not issued by this service.") from None
        # Not itsdangerous' own time stamp: it refuses those of a machine whose clock is a second ahead.
        if time.time() - began > _GOOD_FOR_SECONDS:
            raise Problem("invalid-cursor", "The first page is more than a day old: begin again with it.")
        if digest != _digest(question):
            raise Problem("invalid-cursor", "The cursor goes with other parameters: only 'cursor' may change.")
        return kind(key, UUID(id_), *rest), began


def _digest(question: Mapping[str, Any]) -> str:
    return hashlib.blake2b(orjson.dumps(question, option=orjson.OPT_SORT_KEYS), digest_size=9).hexdigest()
