"""Nothing in a request makes the headers of its answer long: the client that the fixtures use checks their size."""

import pytest

from tests.databases import only_sqlite
from tests.functional.routes import BODIES, MATRIX

pytestmark = only_sqlite

LONG = "x" * 8000
ASKED = {
    "X-Request-ID": LONG,
    "Origin": f"https://{LONG}.example",
    "Accept": f"text/{LONG}",
    "Accept-Encoding": f"gzip, {LONG}",
    "If-None-Match": f'"{LONG}"',
    "Idempotency-Key": LONG[:255],
    "User-Agent": LONG,
}


@pytest.fixture(scope="module")
def origins():
    return {"cors.origins": ",".join(f"https://{number}.shop.example" for number in range(1000))}


@pytest.mark.parametrize(("method", "path"), MATRIX)
def test_long_headers_and_long_questions_are_not_repeated(make_client, send, there, admin, origins, method, path):
    where = there(path)
    further = "&" if "?" in where else "?"
    client = make_client(**origins)

    for place in (where, f"{where}{further}q={LONG}", f"{where}{further}{LONG}=1", f"{path.partition('{')[0]}{LONG}"):
        assert send(method, place, BODIES.get((method, path)), {**admin, **ASKED}, client)
    preflight = {"Origin": "https://7.shop.example", "Access-Control-Request-Method": method}
    assert send("OPTIONS", where, None, {**preflight, "Access-Control-Request-Headers": LONG}, client).status_int == 204
