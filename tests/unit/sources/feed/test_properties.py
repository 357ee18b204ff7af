"""What holds for all documents."""

import gzip

from hypothesis import given
from hypothesis import strategies as st

from productagg.sources.base import Failure, Snapshot
from tests.unit.sources.feed.feeds import is_complete, item, outcomes, rss, shop, shopitem, tag

PRICES = [1250, 990, 129900]
MERCHANT = rss(
    *(item(f"A{n}", f"{price // 100}.{price % 100:02d} EUR", tag(title="Žluť")) for n, price in enumerate(PRICES))
)
HEUREKA = shop(*(shopitem(f"A{n}", f"{price // 100},{price % 100:02d}", EAN="1") for n, price in enumerate(PRICES)))
TABLE = "id,title,price\n" + "".join(
    f"A{n},Žluť,{price // 100}.{price % 100:02d} EUR\n" for n, price in enumerate(PRICES)
)
DOCUMENTS = [text.encode() for text in (MERCHANT, HEUREKA, TABLE)] + [gzip.compress(MERCHANT.encode())]
documents = st.sampled_from(DOCUMENTS)


def prices(found):
    return {
        offer.locator: offer.price for outcome in found if isinstance(outcome, Snapshot) for offer in outcome.offers
    }


@given(st.binary(max_size=200), st.sampled_from(["auto", "merchant", "heureka", "zbozi", "csv"]))
def test_arbitrary_bytes_never_raise_and_are_never_complete(body, expected):
    found = outcomes(body, format=expected, currency="EUR")
    assert isinstance(found[-1], Failure)


@given(documents, st.data())
def test_a_document_with_arbitrary_bytes_in_it_never_raises(body, data):
    at = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(at, min(at + 5, len(body))))
    assert outcomes(body[:at] + data.draw(st.binary(max_size=5)) + body[end:], currency="EUR")


@given(documents, st.data())
def test_a_document_that_is_cut_is_not_complete_and_has_no_wrong_price(body, data):
    # A table that is cut between two lines is as good as one that ends there.
    ends = [at for at in range(1, len(body)) if body is not DOCUMENTS[2] or body[at - 1 : at] != b"\n"]
    found = outcomes(body[: data.draw(st.sampled_from(ends))], currency="EUR")
    assert not is_complete(found)
    expected = {f"A{n}": price for n, price in enumerate(PRICES)}
    assert prices(found).items() <= expected.items()


@given(documents, st.lists(st.integers(1, 40), max_size=100))
def test_the_sizes_of_reads_change_nothing(body, sizes):
    assert outcomes(body, currency="EUR", sizes=sizes) == outcomes(body, currency="EUR")


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 3)), min_size=1, max_size=12))
def test_an_id_has_one_price_or_no_offer(items):
    found = outcomes(rss(*(item(f"{number}", f"{price}.00 EUR") for number, price in items), item("other")))
    by_id: dict[str, set[int]] = {}
    for number, price in items:
        by_id.setdefault(f"{number}", set()).add(price * 100)
    unique = {number: min(values) for number, values in by_id.items() if len(values) == 1}
    assert prices(found) == {**unique, "other": 1250}
    assert sum(len(snapshot.offers) for snapshot in found) == len(unique) + 1
