"""Idempotency-Key: a repeated POST gets the first answer again and is not done again.

See docs/decisions/0011-idempotency.md.
`ContractService` decorates every POST that needs a permission with `idempotent`, inside the permission check: a client
without the permission gets no stored answer either.
"""

import hashlib
import logging
import re
from collections.abc import Callable

from pyramid.config import Configurator
from pyramid.response import Response
from pyramid.tweens import EXCVIEW
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from productagg.api.core import request_body
from productagg.api.core.errors import ErrorCode, Problem
from productagg.api.core.request import Handler, Request
from productagg.api.core.services import Registry
from productagg.db import idempotency_keys
from productagg.db.idempotency_keys import InProgress, KeyLease, KeyReused, StoredResponse

log = logging.getLogger(__name__)

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
ERRORS = (
    ErrorCode.MALFORMED_IDEMPOTENCY_KEY,
    ErrorCode.REQUEST_IN_PROGRESS,
    ErrorCode.IDEMPOTENCY_KEY_REUSED,
)

_MAX_LENGTH = 255
# A string of RFC 9651, as the draft requires, or the same without quotes, as most clients send it.
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"', re.ASCII)
_BARE = re.compile(r"[!#-+\--:<-\[\]-~]*", re.ASCII)  # no space, quote, comma, semicolon or backslash

_LEASE = "productagg.idempotency_lease"
# The client can fix the cause of these errors and send the same request again.
_NOT_FINAL = (401, 403, 408, 425, 429)

View = Callable[[object, Request], Response]


def idempotent(view: View) -> View:
    """A view decorator: with an Idempotency-Key the view runs once, and its answer is committed with its work."""

    def answer_once(context: object, request: Request) -> Response:
        header = request.headers.get(HEADER)
        if header is None:
            return view(context, request)
        acquired = _acquire(request, _parse_key(header))
        if isinstance(acquired, StoredResponse):
            return _replay(acquired)
        request.environ[_LEASE] = acquired
        response = view(context, request)
        if response.status_int < 400:
            try:
                idempotency_keys.store_response(request.dbsession, acquired, _to_store(response))
            except InProgress:
                raise _in_progress() from None
        return response

    return answer_once


def store_errors_tween_factory(handler: Handler, registry: Registry) -> Handler:
    """Outside the transaction: an error rolls the work back, so its answer is stored in a transaction of its own."""

    def tween(request: Request) -> Response:
        response = handler(request)
        lease: KeyLease | None = request.environ.get(_LEASE)
        if lease is not None and response.status_int >= 400:
            try:
                _store_error(registry.services.sessions, lease, response)
            except SQLAlchemyError as error:
                # The key becomes free when the lease expires.
                log.warning("the Idempotency-Key stays leased for a while: %s", " ".join(str(error).split()))
        return response

    return tween


def _store_error(sessions: sessionmaker[Session], lease: KeyLease, response: Response) -> None:
    try:
        with sessions.begin() as session:
            if response.status_int < 500 and response.status_int not in _NOT_FINAL:
                idempotency_keys.store_response(session, lease, _to_store(response))
            else:
                idempotency_keys.release(session, lease)
    except InProgress:
        pass  # another request has taken the key over, and will answer


def _acquire(request: Request, key: str) -> KeyLease | StoredResponse:
    assert request.identity is not None  # the permission check was before
    try:
        with request.services.sessions.begin() as session:
            return idempotency_keys.acquire(session, request.identity.id, key, _fingerprint(request))
    except KeyReused:
        detail = "This user has sent another request with this key."
        raise Problem(ErrorCode.IDEMPOTENCY_KEY_REUSED, detail) from None
    except InProgress:
        raise _in_progress() from None


def _in_progress() -> Problem:
    detail = "A request with this key is still being processed: send it again in a moment."
    return Problem(ErrorCode.REQUEST_IN_PROGRESS, detail, headers={"Retry-After": "1"})


def _parse_key(header: str) -> str:
    """The key in the header; `"x"` and `x` are the same key."""
    quoted = _QUOTED.fullmatch(header)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else header
    if not (quoted or _BARE.fullmatch(header)) or not 1 <= len(key) <= _MAX_LENGTH:
        detail = f"{HEADER} must be one string of 1 to {_MAX_LENGTH} printable ASCII characters."
        raise Problem(ErrorCode.MALFORMED_IDEMPOTENCY_KEY, detail)
    return key


def _fingerprint(request: Request) -> str:
    """A digest of everything that the answer depends on."""
    digest = hashlib.blake2b(digest_size=32)
    for text in (request.method, request.path, request.query_string, request.content_type.lower()):
        digest.update(text.encode() + b"\n")
    for chunk in request_body.chunks(request):
        digest.update(chunk)
    return digest.hexdigest()


def _to_store(response: Response) -> StoredResponse:
    headers = [[name, value] for name, value in response.headerlist if name.lower() != "content-length"]
    return StoredResponse(response.status_int, headers, response.body)


def _replay(stored: StoredResponse) -> Response:
    headers = [(name, value) for name, value in stored.headers]
    response = Response(stored.body, status=stored.status, headerlist=headers)
    response.headers[REPLAYED] = "true"
    return response


def includeme(config: Configurator) -> None:
    config.add_tween(
        "productagg.api.core.idempotency.store_errors_tween_factory",
        under="productagg.api.core.tweens.http_tween_factory",
        over=EXCVIEW,
    )
