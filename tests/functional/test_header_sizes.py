"""Nothing in a request makes the headers of its answer long: the client that the fixtures use checks their size."""

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
    "User-Agent": LONG,
}


def test_long_headers_and_long_questions_are_not_repeated(make_client, send, there, admin, subtests):
    client = make_client(**{"cors.origins": ",".join(f"https://{number}.shop.example" for number in range(1000))})
    # A product that was deleted has only short answers.
    for number, (method, path) in enumerate(sorted(MATRIX, key=lambda each: each[0] == "DELETE")):
        with subtests.test(f"{method} {path}"):
            where = there(path)
            more = f"{where}{'&' if '?' in where else '?'}"
            headers = {**admin, **ASKED, "Idempotency-Key": f"{number:03}{LONG[:252]}"}
            for place in (where, f"{more}q={LONG}", f"{more}{LONG}=1", f"{path.partition('{')[0]}{LONG}"):
                assert send(method, place, BODIES.get((method, path)), headers, client)
            preflight = {"Origin": "https://7.shop.example", "Access-Control-Request-Method": method}
            answer = send("OPTIONS", where, None, {**preflight, "Access-Control-Request-Headers": LONG}, client)
            assert answer.status_int == 204
