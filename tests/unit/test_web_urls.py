"""Which texts are URLs of images."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from productagg.text_rules import is_web_url

NONE = {
    "no scheme": "images.example/a.jpg",
    "without a scheme": "//images.example/a.jpg",
    "another scheme": "ftp://images.example/a.jpg",
    "a script": "javascript:alert(1)",
    "data": "data:image/png;base64,AAAA",
    "no host": "https:///a.jpg",
    "only a port": "https://:443/a.jpg",
    "a user name": "https://user@images.example/a.jpg",
    "a password": "https://user:secret@images.example/a.jpg",
    "an empty user name": "https://@images.example/a.jpg",
    "a host behind a backslash": "https://images.example\\@evil.example/a.jpg",
    "a backslash for a slash": "https://evil.example\\.images.example/a.jpg",
    "a port that is not a number": "https://images.example:x/a.jpg",
    "a port too high": "https://images.example:65536/a.jpg",
    "a port of 0": "https://images.example:0/a.jpg",
    "half an address": "https://[::1/a.jpg",
    "white space": "https://images.example/a b.jpg",
    "white space before": " https://images.example/a.jpg",
    "a wide space": "https://images.example/a\u3000b.jpg",
    "a line break": "https://images.example/a.jpg\n",
    "a tab": "https://images.\texample/a.jpg",
    "NUL": "https://images.example/\0",
    "empty": "",
}


@pytest.mark.parametrize(
    "url",
    [
        "https://images.example/lamp.jpg",
        "http://localhost:6543/images/1?size=2#top",
        "HTTPS://IMAGES.EXAMPLE/LAMP.JPG",
        "https://[2001:db8::1]/lamp.jpg",
        "https://bücher.example/lämp@2x.jpg",
        "https://images.example",
    ],
)
def test_it_is_one(url):
    assert is_web_url(url)


@pytest.mark.parametrize("url", NONE.values(), ids=NONE)
def test_it_is_none(url):
    assert not is_web_url(url)


@given(st.text() | st.from_regex(r"https?://[\w@:\[\]\\/.%]*", fullmatch=True))
def test_any_text_is_one_or_none(text):
    assert is_web_url(text) in (True, False)
