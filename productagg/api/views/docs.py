"""/docs: Swagger UI over /openapi.json, for people; / leads there. All files come from this service.

Pages are no part of the contract.
"""

from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath

from pyramid.response import Response
from swagger_ui_bundle import swagger_ui_path

from productagg.api.core.errors import ErrorCode, Problem
from productagg.api.core.request import Request
from productagg.api.core.responses import digest_once, public_cache_control, respond
from productagg.api.core.security_headers import PAGE_POLICY
from productagg.api.core.service import PUBLIC, service
from productagg.api.core.validators import no_query

front = service("front", "/", None)
docs = service("docs", "/docs", None)
docs_file = service("docs_file", "/docs/{name}", None)

_OURS = files("productagg.api") / "docs_page"
_PAGE = "index.html"
_FOLDERS: dict[str, Traversable] = {
    _PAGE: _OURS,
    "start.js": _OURS,
    **dict.fromkeys(("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"), swagger_ui_path),
}
_CONTENT_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".png": "image/png"}


@front.get(permission=PUBLIC, validators=(no_query,))
def go_to_docs(request: Request) -> Response:
    """There is no page at / yet."""
    return respond(b"", "text/plain", status=302, headers={"Location": request.route_url("docs")})


@docs.get(permission=PUBLIC, validators=(no_query,))
def read_docs(request: Request) -> Response:
    return _file(request, _PAGE, {"Content-Security-Policy": PAGE_POLICY})


@docs_file.get(permission=PUBLIC, validators=(no_query,))
def read_docs_file(request: Request) -> Response:
    name = request.matchdict["name"]
    if name not in _FOLDERS or name == _PAGE:
        raise Problem(ErrorCode.NOT_FOUND, "There is nothing at this path.")
    return _file(request, name)


def _file(request: Request, name: str, headers: dict[str, str] | None = None) -> Response:
    content = _content(name)
    return respond(
        content,
        _CONTENT_TYPES[PurePosixPath(name).suffix],
        etag=digest_once(content),
        headers=headers or {},
        cache_control=public_cache_control(request),
        unchanging=True,
    )


@cache
def _content(name: str) -> bytes:
    return (_FOLDERS[name] / name).read_bytes()
