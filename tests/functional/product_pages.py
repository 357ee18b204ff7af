"""Reads pages of products as a client does: from link to link."""

import re


def link(answer, rel="next"):
    """The path of another page, None if there is none."""
    found = dict(re.findall(r'<http://localhost(/products[^>]*)>; rel="(next|prev|first)"', answer.headers["Link"]))
    return {name: path for path, name in found.items()}.get(rel)


def walk(client, path):
    """The answers from this path on to the last page."""
    while path is not None:
        answer = client.get(path)
        yield answer
        path = link(answer)


def names(answers):
    """The names of the products on each page."""
    return [[product["name"] for product in answer.json] for answer in answers]
