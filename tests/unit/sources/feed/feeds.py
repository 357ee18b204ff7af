"""Feeds of a few items, served without a network."""

from productagg.sources.base import Failure, Request, Snapshot
from productagg.sources.feed.adapter import FeedAdapter
from productagg.sources.web import NO_VALIDATORS, WebError

URL = "https://shop.example/feed"


class Response:
    """A body, in reads of the given sizes (then of any)."""

    not_modified = False

    def __init__(self, url, body, content_type, validators, sizes):
        self.url, self.validators = url, validators
        self.headers = {"content-type": content_type}
        self._body, self._sizes = body, list(sizes)

    def read(self, size=-1):
        size = self._sizes.pop() if self._sizes else size
        block, self._body = self._body[:size], self._body[size:]
        return block

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class NotModifiedResponse(Response):
    not_modified = True


class Served:
    """A web that serves one body, and records with which validators it is asked."""

    def __init__(self, body=b"", content_type="", validators=NO_VALIDATORS, sizes=(), error=None):
        self.body, self.content_type, self.validators, self.sizes = body, content_type, validators, sizes
        self.error = error
        self.asked = []

    def get(self, url, *, headers=None, validators=NO_VALIDATORS, max_bytes, is_page=False):
        self.asked.append(validators)
        if self.error:
            raise WebError(*self.error)
        known = validators.etag is not None and validators.etag == self.validators.etag
        kind = NotModifiedResponse if known else Response
        return kind(url, self.body, self.content_type, self.validators, self.sizes)


def outcomes(body, *, validators=NO_VALIDATORS, web=None, sizes=(), content_type="", **configuration):
    """All that a fetch of the body yields."""
    body = body.encode() if isinstance(body, str) else body
    web = web or Served(body, content_type, sizes=sizes)
    options = FeedAdapter.configuration_schema().deserialize({"url": URL, **configuration})
    return list(FeedAdapter().fetch(Request(options, "The source", (), web, validators=validators)))


def read(body, **options):
    """The offers of a document that is complete."""
    *_, last = found = outcomes(body, **options)
    assert isinstance(last, Snapshot), last
    assert last.complete, last
    return [offer for snapshot in found for offer in snapshot.offers]


def read_one(body, **options):
    """The only offer of a document that is complete."""
    (offer,) = read(body, **options)
    return offer


def rejected(body, **options):
    """The reasons by item."""
    return {
        remark.item: remark.reason
        for outcome in outcomes(body, **options)
        if isinstance(outcome, Snapshot)
        for remark in outcome.rejected
    }


def remarks(body, **options):
    """The remarks by item."""
    return {
        remark.item: remark.reason
        for outcome in outcomes(body, **options)
        if isinstance(outcome, Snapshot)
        for remark in outcome.remarks
    }


def failure(body, **options):
    """The failure that ends it. Nothing is complete."""
    *before, last = outcomes(body, **options)
    assert isinstance(last, Failure), last
    assert not any(outcome.complete for outcome in before)
    return last


def is_complete(found):
    """Whether any of the outcomes says that it is everything."""
    return any(isinstance(outcome, Snapshot) and outcome.complete for outcome in found)


def rss(*items, namespace="http://base.google.com/ns/1.0", channel=""):
    declared = f' xmlns:g="{namespace}"' if namespace else ""
    inner = "".join(f"<item>{item}</item>" for item in items)
    return f'<?xml version="1.0"?><rss version="2.0"{declared}><channel>{channel}{inner}</channel></rss>'


def item(item_id="A", price="12.50 EUR", more=""):
    return f"<g:id>{item_id}</g:id><g:price>{price}</g:price>{more}"


def tag(**fields):
    return "".join(f"<g:{name}>{text}</g:{name}>" for name, text in fields.items())


def shop(*items, namespace=None):
    declared = f' xmlns="{namespace}"' if namespace else ""
    return f"<SHOP{declared}>{''.join(f'<SHOPITEM>{item}</SHOPITEM>' for item in items)}</SHOP>"


def shopitem(item_id="A", price="299,50", **fields):
    inner = "".join(f"<{name}>{text}</{name}>" for name, text in fields.items())
    return f"<ITEM_ID>{item_id}</ITEM_ID><PRICE_VAT>{price}</PRICE_VAT>{inner}"
