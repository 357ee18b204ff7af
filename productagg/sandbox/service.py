"""The stand-in Offers service without a socket: registered products, access tokens and the answers to requests.

The server passes every request below `/api/v1` to it and sends the response; tests look into it. It always behaves
correctly (the server adds the faults), never waits, and keeps nothing beyond the life of the process.
"""

import hashlib
import json
import re
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote
from uuid import UUID

import jwt

from productagg.sandbox.offers import Offer, OffersSource, offers_at

BASE_PATH = "/api/v1"
DEVELOPMENT_REFRESH_TOKEN = "development-refresh-token"  # noqa: S105 - not a secret: it is the published default
TOKEN_LIFETIME = 300
# The claims that can name the end of an access token: the real service's, and the standard's.
TOKEN_CLAIMS = ("expires", "exp")

Clock = Callable[[], float]
Endpoint = Literal["auth", "register", "offers", "pages", "feeds", "shop_api"]
OFFERS_ENDPOINTS: tuple[Endpoint, ...] = ("auth", "register", "offers")
SHOP_ENDPOINTS: tuple[Endpoint, ...] = ("pages", "feeds", "shop_api")
ENDPOINTS = (*OFFERS_ENDPOINTS, *SHOP_ENDPOINTS)

_METHODS: dict[Endpoint, str] = {"auth": "POST", "register": "POST", "offers": "GET"}
_OFFERS_PATH = re.compile(rf"{BASE_PATH}/products/[^/]+/offers")


class Request(NamedTuple):
    """The parts of a request that matter. `bearer` is the header named `Bearer`, None if it was not sent.

    `headers` are all headers by their names in lower case, `query` is what follows the question mark. Only the shops
    look at these.
    """

    method: str
    path: str
    bearer: str | None = None
    content_type: str = ""
    body: bytes = b""
    query: str = ""
    headers: Mapping[str, str] = MappingProxyType({})


class Response(NamedTuple):
    """A status, the body (sent as it is if it is bytes, otherwise as JSON), and the headers beyond those of every
    response."""

    status: int
    body: Any
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"


class Registration(NamedTuple):
    """The product as the client registered it."""

    id: UUID
    name: str
    description: str


class Invalid(Exception):
    """The request does not fit the contract. `response` is the 422 that says where and why."""

    def __init__(self, *problems: dict[str, Any]) -> None:
        super().__init__(problems)
        self.response = Response(422, {"detail": list(problems)})


def problem(location: Sequence[str | int], message: str, kind: str) -> dict[str, Any]:
    """Describe one fault of a request in the form of the contract's `ValidationError`."""
    return {"loc": list(location), "msg": message, "type": kind}


def endpoint_of(path: str) -> Endpoint | None:
    """Return the endpoint of the Offers service at the path, None if there is none."""
    if path == f"{BASE_PATH}/auth":
        return "auth"
    if path == f"{BASE_PATH}/products/register":
        return "register"
    return "offers" if _OFFERS_PATH.fullmatch(path) else None


class OffersService:
    """The three endpoints of the contract and the state behind them. Thread-safe.

    `requests` counts the responses by (endpoint, status), with status 0 for a request that got no response.
    `clock` returns Unix seconds and is the only source of time. Access tokens are signed with a key derived from the
    refresh token, so they outlive a restart. `token_claim` is the claim that names the end of new tokens.
    """

    def __init__(
        self,
        refresh_token: str = DEVELOPMENT_REFRESH_TOKEN,
        *,
        token_lifetime: int = TOKEN_LIFETIME,
        clock: Clock = time.time,
        offers: OffersSource = offers_at,
    ) -> None:
        self.clock = clock
        self.requests: Counter[tuple[Endpoint, int]] = Counter()
        self.token_claim = TOKEN_CLAIMS[0]
        self._refresh_token = refresh_token
        self._key = hashlib.sha256(refresh_token.encode()).digest()
        self._token_lifetime = token_lifetime
        self._token = ""
        self._token_expires_at = 0
        self._accepts_earlier_tokens = True
        self._registered: dict[UUID, Registration] = {}
        self._offers = offers
        self._fixed_offers: dict[UUID, list[Offer]] = {}
        self._lock = threading.Lock()
        self._handlers: dict[Endpoint, Callable[[Request], Response]] = {
            "auth": self._authenticate,
            "register": self._register,
            "offers": self._list_offers,
        }

    @property
    def registered(self) -> dict[UUID, Registration]:
        """A copy of the registered products."""
        with self._lock:
            return dict(self._registered)

    def set_offers(self, product_id: UUID, offers: Sequence[Offer]) -> None:
        """Offer exactly these for the product from now on, at any time."""
        self._fixed_offers[product_id] = list(offers)

    def forget_products(self) -> None:
        """Forget every registration, like a service that was reset."""
        with self._lock:
            self._registered.clear()

    def end_token(self) -> None:
        """Reject all access tokens issued so far, and let the next `/auth` issue a new one at once."""
        with self._lock:
            self._token, self._token_expires_at = "", 0
            self._accepts_earlier_tokens = False

    def count(self, endpoint: Endpoint, status: int) -> None:
        """Count one response; status 0 stands for none."""
        with self._lock:
            self.requests[endpoint, status] += 1

    def answer(self, request: Request) -> Response:
        """Answer a request as the contract says; with 404 for an unknown path and 405 for another method."""
        endpoint = endpoint_of(request.path)
        if endpoint is None:
            return Response(404, {"detail": "Not Found"})
        if request.method != _METHODS[endpoint]:
            return Response(405, {"detail": "Method Not Allowed"}, (("Allow", _METHODS[endpoint]),))
        try:
            return self._handlers[endpoint](request)
        except Invalid as invalid:
            return invalid.response

    def _authenticate(self, request: Request) -> Response:
        if request.bearer is None:
            raise Invalid(problem(["header", "Bearer"], "field required", "value_error.missing"))
        if request.bearer != self._refresh_token:
            return Response(401, {"detail": "Bad authentication"})
        with self._lock:
            now = self.clock()
            if now < self._token_expires_at:
                # The real service's words, which public clients look for.
                return Response(400, {"detail": "Cannot generate access token because another is valid"})
            self._token_expires_at = int(now) + self._token_lifetime
            # The jti makes two tokens of the same second different.
            claims = {self.token_claim: self._token_expires_at, "jti": secrets.token_hex(8)}
            self._token = jwt.encode(claims, self._key, algorithm="HS256")
            return Response(201, {"access_token": self._token})

    # The handlers below check for 422 before 401, as the real service's framework does.

    def _register(self, request: Request) -> Response:
        registration = _parse_registration(request)
        if not self._is_valid(request.bearer):
            return Response(401, {"detail": "Bad authentication"})
        with self._lock:
            if registration.id in self._registered:
                return Response(409, {"detail": "Product ID already registered"})
            self._registered[registration.id] = registration
        return Response(201, {"id": str(registration.id)})

    def _list_offers(self, request: Request) -> Response:
        product_id = _parse_uuid(unquote(request.path.split("/")[-2]))
        if product_id is None:
            raise Invalid(problem(["path", "product_id"], "value is not a valid uuid", "type_error.uuid"))
        if not self._is_valid(request.bearer):
            return Response(401, {"detail": "Bad authentication"})
        if product_id not in self._registered:
            return Response(404, {"detail": "Product ID has not been registered"})
        return Response(200, self._current_offers(product_id))

    def _current_offers(self, product_id: UUID) -> list[dict[str, Any]]:
        offers = self._fixed_offers.get(product_id)
        if offers is None:
            offers = self._offers(product_id, self.clock())
        return [{"id": str(id_), "price": price, "items_in_stock": stock} for id_, price, stock in offers]

    def _is_valid(self, token: str | None) -> bool:
        with self._lock:
            if token == self._token:
                return self.clock() < self._token_expires_at
            if token is None or not self._accepts_earlier_tokens:
                return False
        return self._is_signed_and_current(token)

    def _is_signed_and_current(self, token: str) -> bool:
        try:
            # PyJWT would compare the expiry with the computer's clock, but the service has its own.
            claims = jwt.decode(token, self._key, algorithms=["HS256"], options={"verify_exp": False})
        except jwt.InvalidTokenError:
            return False
        return any(name in claims and self.clock() < claims[name] for name in TOKEN_CLAIMS)


def _parse_uuid(value: object) -> UUID | None:
    """Read a UUID in its canonical form with hyphens: the contract's `format: uuid` allows no other."""
    if not isinstance(value, str):
        return None
    try:
        parsed = UUID(value)
    except ValueError:
        return None
    return parsed if str(parsed) == value.lower() else None


def _parse_registration(request: Request) -> Registration:
    data = _parse_object(request)
    problems = [fault for name in ("id", "name", "description") if (fault := _field_problem(data, name))]
    if problems:
        raise Invalid(*problems)
    return Registration(UUID(data["id"]), data["name"], data["description"])


def _parse_object(request: Request) -> dict[str, Any]:
    if not request.body:
        raise Invalid(problem(["body"], "field required", "value_error.missing"))
    if request.content_type.partition(";")[0].strip().lower() != "application/json":
        raise Invalid(problem(["body"], "value is not a valid dict", "type_error.dict"))
    data = parse_json(request.body)
    if not isinstance(data, dict):
        raise Invalid(problem(["body"], "value is not a valid dict", "type_error.dict"))
    return data


def _field_problem(data: dict[str, Any], name: str) -> dict[str, Any] | None:
    if name not in data:
        return problem(["body", name], "field required", "value_error.missing")
    if name == "id" and _parse_uuid(data[name]) is None:
        return problem(["body", name], "value is not a valid uuid", "type_error.uuid")
    if not isinstance(data[name], str):
        return problem(["body", name], "str type expected", "type_error.str")
    return None


def parse_json(body: bytes) -> Any:
    """Read a JSON body. Raises `Invalid` if it is not JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        position = error.pos if isinstance(error, json.JSONDecodeError) else 0
        raise Invalid(problem(["body", position], str(error), "value_error.jsondecode")) from error
