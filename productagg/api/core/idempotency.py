"""Idempotency-Key: a POST that is sent again is answered again, not done again (docs/decisions/0011-idempotency.md).

`service` puts `once` around every POST that needs a permission, within the check of that permission: nobody gets an
answer who may not ask for it.
"""

import hashlib
import logging
import re
from collections.abc import Callable
from typing import Any

from pyramid.response import Response
from pyramid.tweens import EXCVIEW
from sqlalchemy.exc import SQLAlchemyError

from productagg.api.core import request_body
from productagg.api.core.errors import Problem
from productagg.db import idempotency_keys
from productagg.db.idempotency_keys import Answer, Claim, InProgress, UsedOtherwise

log = logging.getLogger(__name__)

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
ERRORS = ("malformed-idempotency-key", "request-in-progress", "idempotency-key-reused")

_LONGEST = 255
# A string of RFC 9651, as the draft has it, or the same without quotes, as everybody sends it.
_STRING = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"', re.ASCII)
_BARE = re.compile(r"[!#-+\--:<-\[\]-~]*", re.ASCII)  # no space, quote, comma, semicolon or backslash

_CLAIM = "productagg.idempotency_claim"
# A client may do something about these and send the same again.
_NOT_FINAL = (401, 403, 408, 425, 429)


def once(view: Callable[[Any, Any], Response]) -> Callable[[Any, Any], Response]:
    """A view decorator: with an Idempotency-Key the view runs once, and its answer is kept with what it wrote."""

    def answer(context: Any, request: Any) -> Response:
        given = request.headers.get(HEADER)
        if given is None:
            return view(context, request)
        found = _claim(request, _key(given))
        if isinstance(found, Answer):
            return _replay(found)
        request.environ[_CLAIM] = found
        response = view(context, request)
        if response.status_int < 400:
            try:
                idempotency_keys.answered(request.dbsession, found, _kept(response))
            except InProgress:
                raise _in_progress() from None
        return response

    return answer


def settle_tween_factory(handler: Callable[[Any], Response], registry: Any) -> Callable[[Any], Response]:
    """Around the transaction: an error rolls the work back, so its answer is kept in a transaction of its own."""

    def tween(request: Any) -> Response:
        response = handler(request)
        claim = request.environ.get(_CLAIM)
        if claim is not None and response.status_int >= 400:
            try:
                _settle(registry["sessions"], claim, response)
            except SQLAlchemyError as error:
                # The key comes free when the lease is over.
                log.warning("the Idempotency-Key stays taken for a while: %s", " ".join(str(error).split()))
        return response

    return tween


def _settle(sessions: Any, claim: Claim, response: Response) -> None:
    try:
        with sessions.begin() as session:
            if response.status_int < 500 and response.status_int not in _NOT_FINAL:
                idempotency_keys.answered(session, claim, _kept(response))
            else:
                idempotency_keys.release(session, claim)
    except InProgress:
        pass  # whoever took it over will answer


def _claim(request: Any, key: str) -> Claim | Answer:
    try:
        with request.registry["sessions"].begin() as session:
            return idempotency_keys.claim(session, request.identity.id, key, _fingerprint(request))
    except UsedOtherwise:
        raise Problem("idempotency-key-reused", "This user has sent another request under this key.") from None
    except InProgress:
        raise _in_progress() from None


def _in_progress() -> Problem:
    detail = "A request under this key is being worked on: send it again in a moment."
    return Problem("request-in-progress", detail, headers={"Retry-After": "1"})


def _key(given: str) -> str:
    """The key that the header says; `"x"` and `x` are the same one."""
    quoted = _STRING.fullmatch(given)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else given
    if not (quoted or _BARE.fullmatch(given)) or not 1 <= len(key) <= _LONGEST:
        detail = f"{HEADER} is not one string of 1 to {_LONGEST} printable ASCII characters."
        raise Problem("malformed-idempotency-key", detail)
    return key


def _fingerprint(request: Any) -> str:
    """Of everything that the answer depends on."""
    found = hashlib.blake2b(digest_size=32)
    for each in (request.method, request.path, request.query_string, request.content_type.lower()):
        found.update(each.encode() + b"\n")
    for piece in request_body.pieces(request):
        found.update(piece)
    return found.hexdigest()


def _kept(response: Response) -> Answer:
    headers = [[name, value] for name, value in response.headerlist if name.lower() != "content-length"]
    return Answer(response.status_int, headers, response.body)


def _replay(answer: Answer) -> Response:
    response = Response(answer.body, status=answer.status, headerlist=[(name, value) for name, value in answer.headers])
    response.headers[REPLAYED] = "true"
    return response


def includeme(config: Any) -> None:
    config.add_tween(
        "productagg.api.core.idempotency.settle_tween_factory",
        under="productagg.api.core.tweens.http_tween_factory",
        over=EXCVIEW,
    )
