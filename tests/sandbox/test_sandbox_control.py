"""The control endpoint: it shows and changes the state of a running sandbox."""

import socket
from uuid import uuid4

import jwt
import pytest


def test_it_shows_the_state(client, product_id):
    client.offers(product_id)
    client.offers(uuid4())

    response = client.control("GET")

    assert response.status_code == 200
    assert response.json() == {
        "faults": [],
        "registered": 1,
        "requests": {
            "auth": {},
            "register": {},
            "offers": {"200": 1, "404": 1},
            "pages": {},
            "feeds": {},
            "shop_api": {},
        },
        "connections": 1,
        "token_claim": "expires",
    }


def test_it_puts_faults_in_force_and_lifts_them(client, product_id):
    fault = {"kind": "wrong_types", "params": {"form": "price_text"}, "endpoints": ["offers"], "share": 1.0, "times": 7}

    assert client.control("PUT", "/faults", [fault]).json()["faults"] == [fault]
    assert client.control("DELETE", "/faults").json()["faults"] == []
    assert client.offers(product_id).status_code == 200


@pytest.mark.parametrize(
    ("faults", "location", "message"),
    [
        ({"kind": "error"}, ["body"], "a list of faults is expected"),
        ([{"kind": "reset"}, {"kind": "gremlins"}], ["body", 1], "kind must be one of latency"),
    ],
)
def test_invalid_faults_are_422_and_change_nothing(client, faults, location, message):
    client.control("PUT", "/faults", [{"kind": "error"}])

    response = client.control("PUT", "/faults", faults)

    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == location
    assert response.json()["detail"][0]["msg"].startswith(message)
    assert [fault["kind"] for fault in client.control("GET").json()["faults"]] == ["error"]


def test_a_body_that_is_not_json_is_422(client):
    response = client.session.put(f"{client.sandbox.url}/control/faults", data="[", timeout=5)

    assert response.status_code == 422


def test_faults_do_not_affect_it(client):
    client.control("PUT", "/faults", [{"kind": "reset"}])

    assert client.control("GET").status_code == 200


def test_it_forgets_all_products(client, product_id):
    assert client.control("POST", "/forget").json()["registered"] == 0

    assert client.offers(product_id).status_code == 404
    assert client.register(product_id).status_code == 201


def test_it_ends_the_access_token_early(client, product_id):
    ended = client.access_token

    assert client.control("POST", "/end-token").status_code == 200

    assert client.offers(product_id).status_code == 401
    assert client.authenticate().status_code == 201
    assert client.access_token != ended
    assert client.offers(product_id).status_code == 200
    assert client.send("GET", f"/products/{product_id}/offers", ended).status_code == 401


def test_it_issues_tokens_with_the_standard_claim_and_still_accepts_the_others(client, product_id, clock):
    assert client.control("PUT", "/token-claim", {"claim": "exp"}).json()["token_claim"] == "exp"

    assert client.offers(product_id).status_code == 200
    clock.now += 300
    assert client.authenticate().status_code == 201
    claims = jwt.decode(client.access_token, options={"verify_signature": False})
    assert (claims["exp"], "expires" in claims) == (clock.now + 300, False)
    assert client.offers(product_id).status_code == 200


@pytest.mark.parametrize("body", [None, [], {}, {"claim": "nbf"}, {"claim": 7}, {"claim": []}])
def test_it_rejects_other_claims(client, body):
    assert client.control("PUT", "/token-claim", body).status_code == 422
    assert client.control("GET").json()["token_claim"] == "expires"


def test_it_responds_before_it_closes_the_port_for_a_while(client, sandbox):
    assert client.control("POST", "/refuse", {"seconds": 3600}).status_code == 200

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((sandbox.host, sandbox.port), timeout=5)


@pytest.mark.parametrize("body", [None, {}, [], {"seconds": "5"}, {"seconds": -1}, {"seconds": 1e9}])
def test_it_closes_the_port_only_for_a_valid_number_of_seconds(client, body):
    assert client.control("POST", "/refuse", body).status_code == 422
    assert client.control("GET").status_code == 200


def test_an_unknown_path_is_404_and_another_method_405(client):
    assert client.control("POST", "/explode").status_code == 404

    response = client.control("POST", "/faults")
    assert response.status_code == 405
    assert response.headers["Allow"] == "PUT, DELETE"
