"""A shop of the sandbox as a source of the catalogue: linked, synced, and looked at."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import update

from productagg.db.models import OFFERS_SOURCE, Offer, ProductSource, Source
from productagg.sandbox import SandboxServer
from productagg.sandbox.assortment import SHOPS, article_id, articles
from productagg.sandbox.quotes import quote_at
from tests.factories import LONG_AGO, link, make_due, make_product, make_source, rows

SITE = "http://shop.test"
# Carried by all shops, and reduced in none of them at the sandbox's first moment, nor sold out.
SLUGS = ("ormeley-pull-9-bar-espresso-machine", "obrenn-carbon-travel-tripod")
SECRET = "the shop's secret"
JSON_FIELDS = {
    "external_id": "id",
    "price": "price",
    "currency": "currency",
    "url": "url",
    "condition": "condition",
    "availability": "availability",
    "items_in_stock": "stock",
    "shipping": "shipping",
}

# Longer than a clearance, which keeps a price.
LATER = timedelta(days=20)


class Moment:
    """The sandbox's clock, in Unix seconds. It stands still until a test moves it."""

    def __init__(self):
        self.now = datetime(2026, 5, 4, 12, tzinfo=UTC).timestamp()

    def __call__(self):
        return self.now

    def move(self, delta):
        self.now += delta.total_seconds()


def configuration_of(kind, site, shop):
    """How a source of this kind reads a shop of the sandbox at `site`, and the function from an article to its locator.

    `heureka` is a source of the kind `feed`.
    """
    api = f"{site}/shop-api/{shop.key}/products"
    priced = {"price_format": "minor", "fields": JSON_FIELDS}
    pages = {"items": "products", "total": "total", "pages": {"rule": "next_link", "expression": "next"}}
    by_locator = {**JSON_FIELDS, "locator": "gtin"}
    return {
        "jsonld": ({"country": "DE"}, lambda article: f"{site}/shops/{shop.key}/products/{article.slug}"),
        "feed": ({"url": f"{site}/feeds/{shop.key}.xml"}, lambda article: article_id(shop, article)),
        "heureka": (
            {"url": f"{site}/feeds/{shop.key}-heureka.xml", "currency": "EUR"},
            lambda article: article_id(shop, article),
        ),
        "json_api": ({"url": f"{api}/{{locator}}", "items": "[@][]", **priced}, lambda article: article.gtin),
        "json_list": ({"url": api, **pages, **priced, "fields": by_locator}, lambda article: article.gtin),
    }[kind]


class SyncedShop:
    """One of the sandbox's shops and the source that reads it. `kind` is the source's."""

    def __init__(self, kind, shop, database, synchronize):
        self.kind = kind
        self.shop = SHOPS[shop]
        self.moment = Moment()
        self.server = SandboxServer(clock=self.moment, shop_secret=SECRET)
        self.synchronize = synchronize
        self._database = database
        self._articles = [articles()[slug] for slug in SLUGS]
        self.product_ids = []

    def link(self):
        """Make the source and its products. A source of single products has one: it would stop at the first failure."""
        configuration, locate = configuration_of(self.kind, SITE, self.shop)
        is_document = self.kind in ("feed", "json_list")
        self._articles = self._articles if is_document else self._articles[:1]
        options = {"secret_variable": "SHOP_SECRET"} if self.kind.startswith("json_") else {}
        self.source_id = make_source(
            self._database,
            self.shop.name,
            kind=self.kind,
            configuration=configuration,
            next_sync_at=LONG_AGO if is_document else None,
            **options,
        )
        with self._database.sessions.begin() as session:
            session.execute(update(Source).where(Source.id == OFFERS_SOURCE).values(enabled=False))
        for article in self._articles:
            product_id = make_product(self._database, article.name)
            state = {"next_sync_at": None} if is_document else {}
            link(self._database, product_id, self.source_id, locator=locate(article), **state)
            self.product_ids.append(product_id)

    def sync(self):
        """Sync, whatever is due when and however long the source wants no request. Returns the run's result."""
        make_due(self._database)
        with self._database.sessions.begin() as session:
            mine = update(Source).where(Source.id == self.source_id)
            session.execute(mine.values(blocked_until=None, next_sync_at=LONG_AGO))
        return self.synchronize()

    def forget_validators(self):
        """Ask for everything again, whatever it was."""
        for model in (Source, ProductSource):
            with self._database.sessions.begin() as session:
                session.execute(update(model).values(validators=None))

    @property
    def offers(self):
        """Price, number in stock and time of closing of each product's offers, as the catalogue has them."""
        found = rows(self._database, Offer, source_id=self.source_id)
        return [(row.product_id, row.price, row.items_in_stock, row.closed_at) for row in found]

    @property
    def quoted(self):
        """What the shop asks for now, as `offers` should have it."""
        quotes = [quote_at(article, self.shop, self.moment()) for article in self._articles]
        tells_number = self.kind.startswith("json_")
        return [
            (product_id, quote.price, quote.items if tells_number else None, None)
            for product_id, quote in zip(self.product_ids, quotes, strict=True)
        ]

    @property
    def errors(self):
        """The last errors of the source and of its products."""
        found = rows(self._database, Source, id=self.source_id)
        found += rows(self._database, ProductSource, source_id=self.source_id)
        return "; ".join(row.last_error for row in found if row.last_error)
