"""A shared cache in front of the application, as RFC 9111 has it, for the tests that want to see what one would serve.

It keeps what it may, serves it as long as it is fresh, asks again when it is not, honours Vary, and forgets what an
unsafe request may have changed.
"""

import re
import time
from urllib.parse import urljoin, urlsplit

from webob import Request


class SharedCache:
    """`get(path, headers)` and `send(method, path, headers, body)`; `served` counts the answers that it gave itself."""

    def __init__(self, app):
        self._app = app
        self._stored = {}
        self.served = self.revalidated = 0

    def get(self, path, headers=None):
        headers = dict(headers or {})
        stored = self._stored.setdefault(urljoin("http://localhost", path), {})
        # 4.1: the one whose named request headers are the same.
        found = next((response for response in stored.values() if response.fits(headers)), None)
        if found is not None and found.is_fresh() and "no-cache" not in headers.get("Cache-Control", ""):
            self.served += 1
            return found.response
        if found is not None:
            headers["If-None-Match"] = found.response.headers["ETag"]
        answer = Request.blank(path, headers=headers).get_response(self._app)
        if found is not None and answer.status_int == 304:
            self.revalidated += 1
            found.update(answer)  # 4.3.4
            return found.response
        kept = _Stored(headers, answer)
        if kept.may_be_kept():
            stored[kept.key()] = kept
        return answer

    def send(self, method, path, headers, body=b""):
        answer = Request.blank(path, method=method, headers=headers, body=body).get_response(self._app)
        if answer.status_int < 400:  # 4.4
            for where in (path, answer.headers.get("Location"), answer.headers.get("Content-Location")):
                if where is not None:
                    self._stored.pop(urljoin("http://localhost", where), None)
        return answer

    def stored(self):
        """The paths of the stored responses, with the request headers that select them."""
        return [
            (urlsplit(url).path, response.selecting)
            for url, responses in self._stored.items()
            for response in responses.values()
        ]


class _Stored:
    def __init__(self, headers, response):
        self._headers = {name.lower(): value for name, value in headers.items()}
        self.response = response
        self._stored_at = time.time()

    @property
    def selecting(self):
        names = re.findall(r"[\w-]+", self.response.headers.get("Vary", "").lower())
        return {name: self._headers.get(name) for name in names}

    def key(self):
        return tuple(sorted(self.selecting.items(), key=lambda pair: pair[0]))

    def fits(self, headers):
        given = {name.lower(): value for name, value in headers.items()}
        return all(given.get(name) == value for name, value in self.selecting.items())

    def may_be_kept(self):
        """3: by a shared cache, a success that says so; with Authorization only if it is public (3.5)."""
        control = self.response.headers.get("Cache-Control", "")
        return (
            self.response.status_int == 200 and "public" in control and "*" not in self.response.headers.get("Vary", "")
        )

    def is_fresh(self):
        found = re.search(r"max-age=(\d+)", self.response.headers["Cache-Control"])
        return found is not None and time.time() - self._stored_at < int(found[1])

    def update(self, answer):
        self.response.headers.update(answer.headers)
        self._stored_at = time.time()
