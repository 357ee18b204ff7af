"""What a response of the Offers service says. Pure functions of its status, headers and body, for `client`.

A response is either complete and valid, or an UpstreamError says what is wrong with it.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import jwt
import orjson

from productagg.sources.offers_service.errors import InvalidResponse, Refused, Unauthorized, Unavailable

# The range of a 64-bit column. It also bounds the stock of a whole list, because that is summed up.
_LARGEST_INTEGER = 2**63 - 1
# The value of a header (RFC 9110, 5.5); spaces at its ends are not part of it.
_HEADER_VALUE = re.compile(r"[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?")
# An access token's expiry: the standard's claim, and the one that the service uses.
_EXPIRY_CLAIMS = ("exp", "expires")
_JSON_TYPES = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "missing or null"}


class ListedOffer(NamedTuple):
    """An offer in the service's list: price in the smallest unit that it uses, items in stock."""

    price: int
    items_in_stock: int


@dataclass(frozen=True)
class AccessToken:
    """`expires_at` is the expiry that the token itself states, None if it states none."""

    value: str
    expires_at: datetime | None

    def __repr__(self) -> str:
        return f"AccessToken(…, expires_at={self.expires_at!r})"


def check_status(status: int, expected: int) -> None:
    """Raise the error that a status stands for at every endpoint, unless it is the expected one."""
    if status == expected:
        return
    if status == 401:
        raise Unauthorized("the Offers service does not accept the access token")
    if status == 422:
        raise Refused("the Offers service refused the data (422)")
    if 300 <= status < 400:
        raise InvalidResponse(f"the Offers service answered with a redirect ({status}): it is not followed", "redirect")
    if status >= 500:
        raise Unavailable(f"the Offers service answered {status}", f"status_{status}")
    raise InvalidResponse(f"the Offers service answered {status} instead of {expected}", f"status_{status}")


def parse_token(body: bytes) -> AccessToken:
    """The access token in the body of a response to /auth."""
    response = _parse_json(body)
    value = response.get("access_token") if isinstance(response, dict) else None
    if not (isinstance(value, str) and _HEADER_VALUE.fullmatch(value)):
        raise InvalidResponse("the response holds no usable access_token")
    return AccessToken(value, _token_expiry(value))


def parse_offers(body: bytes) -> dict[UUID, ListedOffer]:
    """A product's offers by id. The list is complete: an offer that is absent is sold out."""
    items = _parse_json(body)
    if not isinstance(items, list):
        raise InvalidResponse(f"the offers are not a list but {_json_type(items)}")
    offers: dict[UUID, ListedOffer] = {}
    for index, item in enumerate(items):
        offer_id, offer = _parse_offer(item, index)
        if offer_id in offers:
            raise InvalidResponse(f"offer {index} has the same id as another one, {offer_id}")
        offers[offer_id] = offer
    if sum(offer.items_in_stock for offer in offers.values()) > _LARGEST_INTEGER:
        raise InvalidResponse("the offers' items in stock add up to more than 64 bits hold")
    return offers


def _parse_offer(item: object, index: int) -> tuple[UUID, ListedOffer]:
    if not isinstance(item, dict):
        raise InvalidResponse(f"offer {index} is not an object but {_json_type(item)}")
    offer_id = _uuid(item.get("id"), index)
    return offer_id, ListedOffer(_integer(item, "price", index), _integer(item, "items_in_stock", index))


def _parse_json(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidResponse(f"the response is not JSON: {error}") from error


def _uuid(value: object, index: int) -> UUID:
    # UUID() alone would also accept braces, 'urn:uuid:' and misplaced hyphens.
    if isinstance(value, str) and len(value) == 36:
        with suppress(ValueError):
            parsed = UUID(value)
            if str(parsed) == value.lower():
                return parsed
    raise InvalidResponse(f"offer {index} has no id that is a UUID")


def _integer(item: Mapping[str, Any], field: str, index: int) -> int:
    value = item.get(field)
    if type(value) is not int:  # to isinstance, a bool is an int
        raise InvalidResponse(f"offer {index}: {field} is not an integer but {_json_type(value)}")
    if not 0 <= value <= _LARGEST_INTEGER:
        raise InvalidResponse(f"offer {index}: {field} is out of range")
    return value


def _json_type(value: object) -> str:
    return _JSON_TYPES.get(type(value), "a number")


def _token_expiry(token: str) -> datetime | None:
    """When a JWT says that it expires, by the service's clock. We cannot check its signature and need not."""
    with suppress(jwt.InvalidTokenError):
        claims = jwt.decode(token, options={"verify_signature": False})
        for name in _EXPIRY_CLAIMS:
            with suppress(KeyError, ValueError, OverflowError, OSError, TypeError):
                expires_at = datetime.fromtimestamp(float(claims[name]), UTC)
                # A new token that has already expired means something else: perhaps a number of seconds from now.
                if expires_at > datetime.now(UTC):
                    return expires_at
    return None
