"""Pyramid and Cornice with a constant response, on waitress: `python -m benchmarks.web_constant PORT`."""

import sys
import warnings
from typing import Any

warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning)

from cornice import Service  # noqa: E402
from pyramid.config import Configurator  # noqa: E402
from waitress import serve  # noqa: E402

from productagg.server.processes import pin_to_processor  # noqa: E402

product = Service(name="product", path="/products/{id}", renderer="json")


@product.get()  # type: ignore[untyped-decorator]  # Cornice is
def read(request: Any) -> dict[str, str]:
    return {"id": request.matchdict["id"]}


if __name__ == "__main__":
    pin_to_processor(None)
    with Configurator() as config:
        config.include("cornice")
        config.add_cornice_service(product)
        app = config.make_wsgi_app()
    serve(app, host="127.0.0.1", port=int(sys.argv[1]), threads=8, asyncore_use_poll=True, connection_limit=900)
