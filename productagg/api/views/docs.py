"""/docs: Swagger UI over /openapi.json, for people; / leads there. Everything comes from here, nothing from elsewhere.

Pages are no part of the contract.
"""

from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from typing import Any

from pyramid.response import Response
from swagger_ui_bundle import swagger_ui_path

from productagg.api.core.errors import Problem
from productagg.api.core.security_headers import PAGE_POLICY
from productagg.api.core.service import PUBLIC, no_query, service, unchanging

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
_TYPES = {".js": "text/javascript", ".css": "text/css", ".png": "image/png"}


@front.get(permission=PUBLIC, validators=(no_query,))
def go_to_docs(request: Any) -> Response:
    """There is no page of its own yet."""
    return Response(status=302, location=request.route_url("docs"), content_type="text/plain")


@docs.get(permission=PUBLIC, validators=(no_query,))
def read_docs(request: Any) -> Response:
    """The page."""
    response = unchanging(request, _content(_PAGE), "text/html")
    response.headers["Content-Security-Policy"] = PAGE_POLICY
    return response


@docs_file.get(permission=PUBLIC, validators=(no_query,))
def read_docs_file(request: Any) -> Response:
    """What the page is made of."""
    name = request.matchdict["name"]
    if name not in _FOLDERS or name == _PAGE:
        raise Problem("not-found", "There is nothing at this path.")
    return unchanging(request, _content(name), _TYPES[PurePosixPath(name).suffix])


@cache
def _content(name: str) -> bytes:
    return (_FOLDERS[name] / name).read_bytes()
