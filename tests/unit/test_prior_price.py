"""The prior price of a trader's reduction (Article 6a of Directive 98/6/EC), by cases and a slow reference."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from productagg.history.prior_price import LOOK_BACK, prior_price
from productagg.history.timeline import in_window, microseconds
from tests import scale
from tests.history_strategies import DAY, HOUR, as_steps, histories
from tests.reference_statistics import Row, facts, first_fall

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
MONTH, YEAR = 30 * DAY, 365 * DAY
SOLD_OUT, UNKNOWN = Row(NOW, None), Row(NOW, None, observed=False)


def ago(days, price):
    """A row `days` ago: a price, SOLD_OUT or UNKNOWN."""
    row = price if isinstance(price, Row) else Row(NOW, price)
    return row._replace(at=NOW - timedelta(days=days))


def answer(*rows, now=NOW, is_closed=False):
    """The prior price of an offer: `answer((days ago, price), …)`."""
    return of(as_steps(ago(*row) for row in rows), now, is_closed=is_closed)


def of(steps, now, *, is_closed=False):
    end = microseconds(now)
    return prior_price(in_window(steps, end - LOOK_BACK, end), end, "EUR", is_closed=is_closed)


def told(found):
    """Whether it is reduced, the prior price, the days since the price first fell, and the percentage."""
    days = (NOW - found.fell_at) / DAY if found.fell_at else None
    return found.is_reduced, found.prior_price, days, found.reduction_percent


def codes(found):
    return [reason.code for reason in found.reasons]


CASES = {
    "a first reduction is from the price before": ([(90, 100), (5, 80)], (True, 100, 5, 20.0)),
    # Aldi Süd: a price that was lower three weeks earlier is the prior price, whatever was crossed out.
    "a reduction is from the lowest price, not from the last one": (
        [(90, 100), (26, 70), (19, 120), (5, 60)],
        (True, 70, 5, 14.29),
    ),
    "further reductions keep the price before the first": (
        [(90, 100), (20, 90), (10, 80), (5, 70)],
        (True, 100, 20, 30.0),
    ),
    "a higher price interrupts reductions": (
        [(90, 100), (20, 80), (10, 90), (5, 70)],
        (True, 80, 5, 12.5),
    ),
    "raised, then cut to the price before: no reduction": ([(90, 100), (10, 150), (5, 100)], (False, 100, 5, None)),
    "raised, then cut to more than before: no reduction": ([(90, 100), (10, 150), (5, 120)], (False, 100, 5, None)),
    "raised, then cut below the price before: a small one": ([(90, 100), (10, 150), (5, 95)], (True, 100, 5, 5.0)),
    "raised for 30 days, then cut: a reduction": ([(90, 100), (35, 150), (5, 100)], (True, 150, 5, 33.33)),
    "raised a moment too short": ([(90, 100), (34.99, 150), (5, 100)], (False, 100, 5, None)),
    "raised last": ([(90, 100), (20, 80), (5, 90)], (False, None, None, None)),
    "never changed": ([(90, 100)], (False, None, None, None)),
    "sold out before the cut": ([(90, 100), (10, SOLD_OUT), (5, 80)], (True, 100, 5, 20.0)),
    "sold out between further reductions": (
        [(90, 100), (20, 90), (15, SOLD_OUT), (5, 80)],
        (True, 100, 20, 20.0),
    ),
    "back after 30 days without a price: no reduction": (
        [(90, 100), (36, SOLD_OUT), (5, 80)],
        (False, None, None, None),
    ),
    "back for the 30th day: a reduction": ([(90, 100), (34, SOLD_OUT), (5, 80)], (True, 100, 5, 20.0)),
    "cut again after it came back": (
        [(90, 100), (60, SOLD_OUT), (20, 80), (5, 60)],
        (True, 80, 5, 25.0),
    ),
    "a price of nothing": ([(90, 100), (5, 0)], (True, 100, 5, 100.0)),
    "free before: nothing to reduce": ([(90, 0), (20, 50), (5, 40)], (False, 0, 5, None)),
    "a cut of 364 days ago": ([(500, 100), (364, 80)], (True, 100, 364, 20.0)),
    "a cut of more than a year ago is the usual price": ([(500, 100), (365, 80)], (False, None, None, None)),
    "further cuts count from the first of the year": (
        [(500, 100), (400, 90), (300, 80)],
        (True, 90, 300, 11.11),
    ),
}


@pytest.mark.parametrize(("rows", "expected"), CASES.values(), ids=CASES)
def test_a_reduction_is_computed_from_the_prior_price(rows, expected):
    found = answer(*rows)

    assert told(found) == expected


def test_a_clear_case_has_no_reasons():
    found = answer((90, 100), (5, 80))

    assert (found.price, found.reduction, found.currency, found.state) == (80, 20, "EUR", "in_stock")
    assert (found.confidence, found.reasons, found.resolution) == ("high", [], "raw")


@pytest.mark.parametrize(
    ("rows", "is_closed", "state", "code"),
    [
        ([(90, 100), (5, SOLD_OUT)], False, "sold_out", "sold_out"),
        ([(90, 100), (5, SOLD_OUT)], True, "sold_out", "closed"),
        ([(90, 100), (5, UNKNOWN)], False, "not_observed", "not_observed"),
        ([], False, "not_observed", "not_observed"),
    ],
)
def test_without_a_price_now_nobody_can_tell(rows, is_closed, state, code):
    found = answer(*rows, is_closed=is_closed)

    assert (found.state, found.is_reduced, found.price, found.prior_price) == (state, None, None, None)
    assert (found.confidence, codes(found)[0]) == ("low", code)


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([(34.9, 100), (5, 80)], "it was first seen 29.9 days before its price fell, which is less than 30"),
        ([(3, 100)], "it was first seen 3.0 days ago, which is less than 30"),
    ],
)
def test_an_offer_seen_for_less_than_30_days_says_so(rows, text):
    found = answer(*rows)

    assert [(reason.code, reason.text) for reason in found.reasons] == [("first_seen_recently", text)]
    assert found.confidence == "low"


def test_an_offer_seen_for_30_days_says_nothing():
    assert answer((35, 100), (5, 80)).reasons == []
    assert answer((30, 100)).reasons == []


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [
        (20, 19, ["gaps"]),
        (20, 19.01, []),
        # 30 days before the cut, and before that.
        (36, 34, ["gaps"]),
        (36, 34.01, []),
        # Since the cut: a rise may hide there.
        (4, 3, ["gaps"]),
    ],
)
def test_a_day_without_observation_lowers_the_confidence(begin, end, expected):
    rows = sorted([(90, 100), (5, 80), (begin, UNKNOWN), (end, 80 if end < 5 else 100)], reverse=True)

    found = answer(*rows)

    assert codes(found) == expected
    assert (found.is_reduced, found.prior_price) == (True, 100)


def test_what_changed_unobserved_counts_from_when_it_is_seen():
    found = answer((90, 100), (20, UNKNOWN), (5, 80))

    assert told(found) == (True, 100, 5, 20.0)
    assert found.reasons[0].text == "it was not observed for 15.0 days since 2026-10-26"


def naive(rows, now):
    """The same the slow way: cut at every row, scan for the lowest."""
    current = facts(rows, now - HOUR, now).end_price
    since = first_fall(rows, now, now - YEAR) if current is not None else None
    if since is None:
        return (None if current is None else False), None, None, None, None
    lowest = facts(rows, since - MONTH, since).minimum
    assert lowest is not None and current is not None
    prior = lowest[0]
    if prior <= current:
        return False, prior, since, None, None
    return True, prior, since, prior - current, round(float(Fraction(100 * (prior - current), prior)), 2)


@settings(max_examples=scale.examples(400))
@given(history=st.one_of(histories(40 * DAY), histories(500 * DAY)), later=st.timedeltas(timedelta(), 60 * DAY))
def test_any_history_gives_what_the_slow_reference_gives(history, later):
    rows = [row._replace(at=row.at.astimezone(UTC)) for row in history]
    now = (rows[-1].at if rows else NOW) + later

    found = of(as_steps(rows), now)

    assert (found.is_reduced, found.prior_price, found.fell_at, found.reduction, found.reduction_percent) == naive(
        rows, now
    )
    assert (found.confidence == "low") == bool(found.reasons)
    if found.is_reduced:
        assert found.price + found.reduction == found.prior_price
