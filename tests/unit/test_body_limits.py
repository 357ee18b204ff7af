"""How large a body the server receives: as the endpoint declares, and large ones only with credentials."""

import pytest

from productagg.api.core.service import PUBLIC, service
from productagg.api.core.validators import Validator
from productagg.server.body_limits import ORDINARY_BYTES, BodyLimits

CEILING = 10 * ORDINARY_BYTES


def endpoint(path, max_bytes):
    made = service("made", path, None)

    @made.post(permission=PUBLIC, validators=(Validator(lambda _request: None, (), max_bytes=max_bytes),))
    def receive(_request):
        """Receive it."""

    return made


@pytest.fixture
def limits():
    services = [
        endpoint("/small", 1000),
        endpoint("/large", 4 * ORDINARY_BYTES),
        endpoint("/huge", 2 * CEILING),
    ]
    return BodyLimits(services, CEILING)


def test_a_large_body_is_received_at_the_endpoint_that_declares_it(limits):
    assert limits.at("/large", has_credentials=True) == 4 * ORDINARY_BYTES + 1


def test_without_credentials_no_large_body_is_received(limits):
    assert limits.at("/large", has_credentials=False) == ORDINARY_BYTES


@pytest.mark.parametrize("path", ["/small", "/unknown", "", "/large/"])
def test_any_other_path_receives_an_ordinary_body(limits, path):
    assert limits.at(path, has_credentials=True) == ORDINARY_BYTES


def test_no_endpoint_receives_more_than_the_ceiling(limits):
    assert limits.at("/huge", has_credentials=True) == CEILING
    assert BodyLimits([], ORDINARY_BYTES // 2).at("/small", has_credentials=False) == ORDINARY_BYTES // 2
