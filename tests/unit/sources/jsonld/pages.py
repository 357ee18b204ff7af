"""Product pages for the tests, and what the adapter reads from them."""

import json

from productagg.sources.base import Failure, Snapshot
from productagg.sources.jsonld.reader import Options, Page, read_page

URL = "https://shop.example/products/lamp"


def script(data):
    """A script element with JSON-LD: a text is taken as it is."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return f'<script type="application/ld+json">{text}</script>'


def html(*blocks, head="", body="<h1>Lamp</h1>"):
    """A page with blocks of JSON-LD in its head."""
    scripts = "\n".join(script(block) for block in blocks)
    return f"<!doctype html><html><head><title>Lamp</title>{head}{scripts}</head><body>{body}</body></html>"


def read(page, locator=URL, *, url=None, content_type="text/html; charset=utf-8", **options):
    """Read a page; by default it is at the locator's address, without the fragment."""
    body = page if isinstance(page, bytes) else page.encode("utf-8", "surrogatepass")
    return read_page(Page(body, content_type, url or locator.partition("#")[0]), locator, Options(**options))


def read_blocks(*blocks, locator=URL, head="", body="", **options):
    """Read a page with these blocks of JSON-LD."""
    return read(html(*blocks, head=head, body=body), locator, **options)


def offers(outcome):
    """The offers of a page that was read to its end without a doubt."""
    assert isinstance(outcome, Snapshot), outcome
    assert outcome.complete, outcome.incomplete_because
    return list(outcome.offers)


def offer_of(outcome):
    """The only offer of such a page."""
    [offer] = offers(outcome)
    return offer


def prices(outcome):
    """Minor units and currency of the offers of such a page."""
    return [(offer.price, offer.currency) for offer in offers(outcome)]


def refusal(outcome):
    """Why nothing was read."""
    assert isinstance(outcome, Failure), outcome
    return outcome


def product(offers_, **more):
    """A product of schema.org."""
    return {"@context": "https://schema.org/", "@type": "Product", "name": "Lamp", "offers": offers_, **more}


def offer(price="19.99", currency="EUR", **more):
    """An offer of schema.org in stock. None leaves a property out."""
    stated = {
        "@type": "Offer",
        "price": price,
        "priceCurrency": currency,
        "availability": "https://schema.org/InStock",
        **more,
    }
    return {name: value for name, value in stated.items() if value is not None}
