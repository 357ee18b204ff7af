"""The database writes JSON, byte by byte, just as orjson writes what SQLAlchemy reads."""

from datetime import UTC, datetime
from operator import itemgetter
from uuid import uuid4

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select, update

from productagg.catalog import listing
from productagg.catalog import products as catalog
from productagg.catalog.product_members import MEMBERS
from productagg.catalog.product_offers import offers_page
from productagg.catalog.product_query import ProductQuery
from productagg.catalog.product_values import FACTS
from productagg.db.models import (
    AVAILABILITIES,
    CONDITIONS,
    OFFERS_SOURCE,
    Offer,
    Product,
    ProductSource,
    ProductSummary,
)
from tests.factories import make_product
from tests.integration.history_writer import examples

LARGEST = 2**63 - 1
OFFER = (
    "id",
    "external_id",
    "seller",
    "url",
    "condition",
    "price",
    "currency",
    "comparable",
    "shipping",
    "availability",
    "items_in_stock",
    "quarantined",
    "first_seen_at",
    "changed_at",
    "closed_at",
)
# More than the API lets in, but for what PostgreSQL does not store: NUL and lone surrogates.
texts = st.text(
    st.one_of(
        st.sampled_from("\"'\\/\b\t\n\f\r\x01\x1f\x7f\x80\x9f%:$&<>\u00e9\u2028\u2029\ufeff\uffff\U0001f6cb\U0010ffff"),
        st.characters(exclude_characters="\0", codec="utf-8"),
    ),
    max_size=40,
)
names = texts.map("n{}".format)
moments = st.builds(
    lambda time, whole: time.replace(microsecond=0) if whole else time,
    st.datetimes(datetime(1, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.booleans(),
)
amounts = st.one_of(st.sampled_from([0, 1, 2**53 + 1, LARGEST]), st.integers(0, LARGEST))
maybe_moments, maybe_amounts, maybe_texts = st.none() | moments, st.none() | amounts, st.none() | texts
products = st.fixed_dictionaries(
    {"name": names, "description": texts, "created_at": moments, "updated_at": moments},
    optional=dict.fromkeys(FACTS, st.none() | texts),
)
syncs = st.fixed_dictionaries(
    {
        "registration": st.sampled_from(["pending", "registered", "failed"]),
        "last_synced_at": maybe_moments,
        "last_changed_at": maybe_moments,
    }
)
summaries = st.fixed_dictionaries(
    {
        "lowest": maybe_amounts,
        "lowest_24h": maybe_amounts,
        "offers": st.integers(0, 2**31 - 1),
        "items_in_stock": amounts,
    }
)
offers = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.uuids(),
            "external_id": maybe_texts,
            "seller": maybe_texts,
            "url": maybe_texts,
            "condition": st.sampled_from(CONDITIONS),
            "price": amounts,
            "currency": st.sampled_from(["CZK", "EUR", "JPY"]),
            "shipping": maybe_amounts,
            "availability": st.sampled_from(AVAILABILITIES),
            "items_in_stock": maybe_amounts,
            "first_seen_at": moments,
            "changed_at": moments,
            "closed_at": maybe_moments,
        }
    ),
    max_size=4,
    unique_by=lambda offer: offer["id"],
)
some_fields = st.lists(st.sampled_from(MEMBERS), min_size=1, unique=True).map(tuple)
FIELDS = [
    MEMBERS,
    MEMBERS[::-1],
    *((member,) for member in MEMBERS),
    ("change_24h", "name", "change_24h_percent", "description"),
    ("name", "change_24h_percent", "change_24h", "id"),
]


class Written:
    """One product, of which each example writes all that is said of it."""

    def __init__(self, database):
        self._database = database
        self.product_id = make_product(database)

    def write(self, product, sync, summary, offers=()):
        with self._database.sessions.begin() as session:
            for model, key, values in (
                (Product, Product.id, product),
                (ProductSource, ProductSource.product_id, sync),
                (ProductSummary, ProductSummary.product_id, summary),
            ):
                session.execute(update(model).where(key == self.product_id).values(**values))
            session.execute(delete(Offer))
            for offer in offers:
                session.execute(insert(Offer).values(product_id=self.product_id, source_id=OFFERS_SOURCE, **offer))

    def object_members(self):
        """What SQLAlchemy reads."""
        with self._database.sessions.begin() as session:
            product = session.get_one(Product, self.product_id)
            sync = session.get_one(ProductSource, (self.product_id, OFFERS_SOURCE))
            summary = session.get_one(ProductSummary, self.product_id)
            before, now = summary.lowest_24h, summary.lowest
            known = before is not None and now is not None
            return {
                **{
                    name: getattr(product, name)
                    for name in ("id", "name", "description", *FACTS, "created_at", "updated_at")
                },
                **{name: getattr(sync, name) for name in ("registration", "last_synced_at", "last_changed_at")},
                "currency": "EUR",
                "lowest_price": now,
                "offer_count": summary.offers,
                "items_in_stock": summary.items_in_stock,
                "change_24h": now - before if known else None,
                "change_24h_percent": round(100 * (now - before) / before, 2) if known and before else None,
            }

    def offers(self, key):
        """The current ones, sorted by the key, and the closed ones, as they are listed."""
        with self._database.sessions.begin() as session:
            found = [
                {name: offer.currency == "EUR" if name == "comparable" else getattr(offer, name) for name in OFFER}
                for offer in session.scalars(select(Offer))
            ]
        return (
            sorted((each for each in found if not each["closed_at"]), key=key),
            sorted((each for each in found if each["closed_at"]), key=itemgetter("closed_at", "id"), reverse=True),
        )

    def page(self, fields, **filters):
        with self._database.reader.connect() as connection:
            return listing.page(connection, ProductQuery(fields=fields, **filters), 10).products


@pytest.fixture
def written(database):
    return Written(database)


def by_price(offer):
    return not offer["comparable"], offer["currency"], offer["price"], offer["id"]


def by_total_price(offer):
    shipping = offer["shipping"]
    total = offer["price"] + (shipping or 0)
    return not offer["comparable"], offer["currency"], shipping is None, total, offer["id"]


def dumped(value):
    return orjson.dumps(value, option=orjson.OPT_UTC_Z).decode()


A_SECOND, A_FRACTION = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(2026, 1, 2, 3, 4, 5, 600_000, tzinfo=UTC)
AN_OFFER = {
    "price": LARGEST,
    "currency": "EUR",
    "shipping": LARGEST,
    "condition": "new",
    "availability": "in_stock",
    "items_in_stock": LARGEST,
    "first_seen_at": A_SECOND,
    "changed_at": A_FRACTION,
}


@examples(40)
@given(product=products, sync=syncs, summary=summaries, offers=offers)
@example(
    product={
        "name": "\"'\\/\u00e9\U0001f6cb\u2028\x7f",
        "description": "\t\r\n\\n\x7f\u2029",
        "created_at": A_SECOND,
        "updated_at": A_FRACTION,
    },
    sync={"registration": "registered", "last_synced_at": A_SECOND, "last_changed_at": None},
    summary={"lowest": LARGEST, "lowest_24h": 0, "offers": 2, "items_in_stock": LARGEST},
    offers=[{"id": uuid4(), "closed_at": closed_at, **AN_OFFER} for closed_at in (None, None, A_SECOND, A_FRACTION)],
)
def test_a_product_and_its_offers_are_written_as_orjson_writes_them(written, database, product, sync, summary, offers):
    written.write(product, sync, summary, offers)
    members = written.object_members()

    with database.reader.connect() as connection:
        found = catalog.get(connection, written.product_id)
        by_total = catalog.get(connection, written.product_id, "total").offers
        page = offers_page(connection, written.product_id, len(offers) + 1)
    current, closed = written.offers(by_price)
    assert found.offers == dumped(current)
    assert by_total == dumped(written.offers(by_total_price)[0])
    assert "{" + found.json_members + "}" == dumped({**members, "offers": current})
    assert page.offers == dumped([*current, *closed])


@examples(40)
@given(product=products, sync=syncs, summary=summaries, fields=some_fields)
def test_of_a_listed_product_the_fields_are_written_in_the_order_wanted(written, product, sync, summary, fields):
    written.write(product, sync, summary)
    members = written.object_members()

    assert written.page(fields) == [dumped({name: members[name] for name in fields})]


@pytest.mark.parametrize("lowest_24h", [None, 0, 3])
def test_whichever_fields_are_wanted_and_by_whichever_way_the_page_is_read(written, lowest_24h):
    times = {"created_at": A_SECOND, "updated_at": A_FRACTION}
    written.write(
        {"name": 'A "kettle"', "description": "Boils\n\twater", **times},
        {"registration": "registered", "last_synced_at": A_FRACTION, "last_changed_at": A_SECOND},
        {"lowest": 7, "lowest_24h": lowest_24h, "offers": 1, "items_in_stock": 2},
    )
    members = written.object_members()

    for fields in FIELDS:
        expected = [dumped({name: members[name] for name in fields})]
        # Prepared, and by SQLAlchemy.
        assert written.page(fields) == written.page(fields, ids=[written.product_id]) == expected
