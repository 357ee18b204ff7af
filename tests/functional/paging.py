"""Follows the pages of GET /products by their links."""

import re


def link(answer, rel="next"):
    """The path of another page, None if there is none."""
    found = dict(re.findall(r'<http://localhost(/products[^>]*)>; rel="(next|prev|first)"', answer.headers["Link"]))
    return {name: path for path, name in found.items()}.get(rel)


def walk(client, path):
    while path is not None:
        answer = client.get(path)
        yield answer
        path = link(answer)


def names(answers):
    return [[product["name"] for product in answer.json] for answer in answers]
