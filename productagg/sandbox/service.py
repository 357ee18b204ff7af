"""What the stand-in Offers service knows and answers, without a socket: who is registered and which token is valid.

The server hands it every request below `/api/v1` and sends what it returns; tests look into it. It never misbehaves
(faults are put on its answers by the server), never waits, and never keeps anything when the process ends.
"""

import hashlib
import json
import re
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote
from uuid import UUID

import jwt

from productagg.sandbox.offers import Offer, OffersSource, offers_at

BASE_PATH = "/api/v1"
DEVELOPMENT_REFRESH_TOKEN = "development-refresh-token"  # noqa: S105 - no secret: whoever runs the sandbox knows it
TOKEN_LIFETIME = 300
TOKEN_CLAIMS = ("expires", "exp")
"""The claims that can say when an access token ends: the one that the real service has, and the standard's."""

Clock = Callable[[], float]
Endpoint = Literal["auth", "register", "offers"]
ENDPOINTS: tuple[Endpoint, ...] = ("auth", "register", "offers")

_METHODS: dict[Endpoint, str] = {"auth": "POST", "register": "POST", "offers": "GET"}
_OFFERS_PATH = re.compile(rf"{BASE_PATH}/products/[^/]+/offers")


class Request(NamedTuple):
    """What of a request matters; `bearer` is the header that is itself named `Bearer`, None when it was not sent."""

    method: str
    path: str
    bearer: str | None = None
    content_type: str = ""
    body: bytes = b""


class Answer(NamedTuple):
    """A status, what to send as JSON, and the headers beyond those that every answer has."""

    status: int
    body: Any
    headers: tuple[tuple[str, str], ...] = ()


class Registration(NamedTuple):
    """What a client told about a product when it registered it."""

    id: UUID
    name: str
    description: str


class Invalid(Exception):
    """The request is not what the contract asks for; `answer` is the 422 that says where and why."""

    def __init__(self, *problems: dict[str, Any]) -> None:
        super().__init__(problems)
        self.answer = Answer(422, {"detail": list(problems)})


def problem(location: Sequence[str | int], message: str, kind: str) -> dict[str, Any]:
    """Describe one fault of a request in the shape of the contract's `ValidationError`."""
    return {"loc": list(location), "msg": message, "type": kind}


def endpoint_of(path: str) -> Endpoint | None:
    """Name the endpoint that serves the path, None when there is none."""
    if path == f"{BASE_PATH}/auth":
        return "auth"
    if path == f"{BASE_PATH}/products/register":
        return "register"
    return "offers" if _OFFERS_PATH.fullmatch(path) else None


class OffersService:
    """The three endpoints of the contract and the state behind them; safe to use from many threads.

    `requests` counts the answers by (endpoint, status), with status 0 for a request that was cut off without any.
    `clock` gives Unix seconds and decides alone what time it is. Access tokens are signed with a key derived from the
    refresh token, so they outlive a restart; `token_claim` is the claim that says when new ones end.
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
        self._accepts_unknown_tokens = True
        self._registered: dict[UUID, Registration] = {}
        self._offers = offers
        self._offers_by_hand: dict[UUID, list[Offer]] = {}
        self._lock = threading.Lock()

    @property
    def registered(self) -> dict[UUID, Registration]:
        """The registered products as they are now (a copy)."""
        with self._lock:
            return dict(self._registered)

    def set_offers(self, product_id: UUID, offers: Sequence[Offer]) -> None:
        """From now on offer exactly this for the product, whatever the time."""
        self._offers_by_hand[product_id] = list(offers)

    def forget_products(self) -> None:
        """Forget every registration, as a service does that was reset."""
        with self._lock:
            self._registered.clear()

    def end_token(self) -> None:
        """Accept none of the access tokens issued so far, and let the next `/auth` have a new one at once."""
        with self._lock:
            self._token, self._token_expires_at = "", 0
            self._accepts_unknown_tokens = False

    def count(self, endpoint: Endpoint, status: int) -> None:
        """Count one answer; status 0 stands for none at all."""
        with self._lock:
            self.requests[endpoint, status] += 1

    def answer(self, request: Request) -> Answer:
        """Answer a request as the contract says: 404 for an unknown path and 405 for another method are answers too."""
        endpoint = endpoint_of(request.path)
        if endpoint is None:
            return Answer(404, {"detail": "Not Found"})
        if request.method != _METHODS[endpoint]:
            return Answer(405, {"detail": "Method Not Allowed"}, (("Allow", _METHODS[endpoint]),))
        try:
            if endpoint == "auth":
                return self._authenticate(request)
            return self._register(request) if endpoint == "register" else self._list_offers(request)
        except Invalid as invalid:
            return invalid.answer

    def _authenticate(self, request: Request) -> Answer:
        if request.bearer is None:
            raise Invalid(problem(["header", "Bearer"], "field required", "value_error.missing"))
        if request.bearer != self._refresh_token:
            return Answer(401, {"detail": "Bad authentication"})
        with self._lock:
            now = self.clock()
            if now < self._token_expires_at:
                # The real service's words, which public clients look for.
                return Answer(400, {"detail": "Cannot generate access token because another is valid"})
            self._token_expires_at = int(now) + self._token_lifetime
            # The jti keeps two tokens of the same second apart.
            claims = {self.token_claim: self._token_expires_at, "jti": secrets.token_hex(8)}
            self._token = jwt.encode(claims, self._key, algorithm="HS256")
            return Answer(201, {"access_token": self._token})

    # Below, 422 goes before 401: frameworks of the kind that published the contract validate before they call a view.

    def _register(self, request: Request) -> Answer:
        registration = _parse_registration(request)
        if not self._is_valid(request.bearer):
            return Answer(401, {"detail": "Bad authentication"})
        with self._lock:
            if registration.id in self._registered:
                return Answer(409, {"detail": "Product ID already registered"})
            self._registered[registration.id] = registration
        return Answer(201, {"id": str(registration.id)})

    def _list_offers(self, request: Request) -> Answer:
        product_id = _parse_uuid(unquote(request.path.split("/")[-2]))
        if product_id is None:
            raise Invalid(problem(["path", "product_id"], "value is not a valid uuid", "type_error.uuid"))
        if not self._is_valid(request.bearer):
            return Answer(401, {"detail": "Bad authentication"})
        if product_id not in self._registered:
            return Answer(404, {"detail": "Product ID has not been registered"})
        offers = self._offers_by_hand.get(product_id)
        if offers is None:
            offers = self._offers(product_id, self.clock())
        return Answer(200, [{"id": str(id_), "price": price, "items_in_stock": stock} for id_, price, stock in offers])

    def _is_valid(self, token: str | None) -> bool:
        with self._lock:
            if token == self._token:
                return self.clock() < self._token_expires_at
            if token is None or not self._accepts_unknown_tokens:
                return False
        try:
            # PyJWT would ask the computer's clock whether the token has expired; the service has its own.
            claims = jwt.decode(token, self._key, algorithms=["HS256"], options={"verify_exp": False})
        except jwt.InvalidTokenError:
            return False
        return any(name in claims and self.clock() < claims[name] for name in TOKEN_CLAIMS)


def _parse_uuid(value: object) -> UUID | None:
    """Read a UUID in its canonical form with hyphens, which is all that the contract's `format: uuid` allows."""
    if not isinstance(value, str):
        return None
    try:
        parsed = UUID(value)
    except ValueError:
        return None
    return parsed if str(parsed) == value.lower() else None


def _parse_registration(request: Request) -> Registration:
    if not request.body:
        raise Invalid(problem(["body"], "field required", "value_error.missing"))
    if request.content_type.partition(";")[0].strip().lower() != "application/json":
        raise Invalid(problem(["body"], "value is not a valid dict", "type_error.dict"))
    data = parse_json(request.body)
    if not isinstance(data, dict):
        raise Invalid(problem(["body"], "value is not a valid dict", "type_error.dict"))
    problems = []
    for field in ("id", "name", "description"):
        if field not in data:
            problems.append(problem(["body", field], "field required", "value_error.missing"))
        elif field == "id" and _parse_uuid(data[field]) is None:
            problems.append(problem(["body", field], "value is not a valid uuid", "type_error.uuid"))
        elif not isinstance(data[field], str):
            problems.append(problem(["body", field], "str type expected", "type_error.str"))
    if problems:
        raise Invalid(*problems)
    return Registration(UUID(data["id"]), data["name"], data["description"])


def parse_json(body: bytes) -> Any:
    """Read a JSON body; raises `Invalid` when it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        position = error.pos if isinstance(error, json.JSONDecodeError) else 0
        raise Invalid(problem(["body", position], str(error), "value_error.jsondecode")) from error
