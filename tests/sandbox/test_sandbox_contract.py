"""The published contract: every status at every path. The client checks every response against the contract."""

import http.client
import json
import string
from uuid import uuid4

import jwt
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from productagg.sandbox import Offer, SandboxServer, offers_at
from tests.scale import examples

REFRESH_TOKEN = "the-refresh-token"
LIFETIME = 300


class TestAuthentication:
    def test_a_refresh_token_gets_an_access_token_that_says_when_it_expires(self, stranger, clock):
        response = stranger.authenticate()

        assert response.status_code == 201
        claims = jwt.decode(stranger.access_token, options={"verify_signature": False})
        assert claims["expires"] == clock.now + LIFETIME
        assert "exp" not in claims

    def test_a_wrong_refresh_token_is_401(self, stranger):
        assert stranger.authenticate("another").status_code == 401

    def test_no_refresh_token_is_422(self, stranger):
        response = stranger.send("POST", "/auth")

        assert response.status_code == 422
        assert response.json()["detail"][0]["loc"] == ["header", "Bearer"]

    def test_the_authorization_header_is_not_the_one_that_counts(self, stranger):
        response = stranger.send("POST", "/auth", headers={"Authorization": f"Bearer {REFRESH_TOKEN}"})

        assert response.status_code == 422

    def test_a_second_access_token_is_400_until_the_first_expires(self, client, clock):
        clock.now += LIFETIME - 0.1
        response = client.authenticate()
        assert response.status_code == 400
        # Clients of the real service look for these words
        assert response.json()["detail"] == "Cannot generate access token because another is valid"

        clock.now += 0.1
        assert client.authenticate().status_code == 201

    def test_an_access_token_expires_at_the_moment_from_which_there_is_a_new_one(self, client, product_id, clock):
        clock.now += LIFETIME - 0.1
        assert client.offers(product_id).status_code == 200

        clock.now += 0.1
        assert client.offers(product_id).status_code == 401

    def test_the_lifetime_of_a_token_can_be_set(self, clock):
        with SandboxServer(token_lifetime=7, clock=clock) as sandbox:
            headers = {"Bearer": "development-refresh-token"}
            token = requests.post(f"{sandbox.base_url}/auth", headers=headers, timeout=5).json()["access_token"]

        assert jwt.decode(token, options={"verify_signature": False})["expires"] == clock.now + 7

    @pytest.mark.parametrize("claim", ["expires", "exp"])
    def test_a_token_outlives_a_restart_of_the_sandbox(self, stranger, clock, claim):
        client = stranger
        client.sandbox.service.token_claim = claim
        client.authenticate()
        with SandboxServer(refresh_token=REFRESH_TOKEN, clock=clock) as restarted:
            client.sandbox = restarted
            assert client.register(uuid4()).status_code == 201

            clock.now += LIFETIME
            assert client.register(uuid4()).status_code == 401

    def test_a_token_for_another_refresh_token_is_rejected(self, client, clock):
        with SandboxServer(refresh_token="another", clock=clock) as another:
            client.sandbox = another
            assert client.register(uuid4()).status_code == 401

    def test_an_empty_token_is_rejected_before_the_first_one_is_issued(self, stranger):
        assert stranger.send("POST", "/products/register", "", json=a_product()).status_code == 401
        assert stranger.send("GET", f"/products/{uuid4()}/offers", "").status_code == 401


class TestRegistration:
    def test_a_product_is_registered_with_the_clients_data(self, client, sandbox):
        product_id = uuid4()

        response = client.register(product_id)

        assert response.status_code == 201
        assert response.json() == {"id": str(product_id)}
        assert sandbox.service.registered == {product_id: (product_id, "Kettle", "Boils water")}

    def test_a_product_is_registered_only_once(self, client, product_id):
        assert client.register(product_id).status_code == 409

    @pytest.mark.parametrize("token", [None, "not-a-token"])
    def test_without_an_access_token_it_is_401(self, client, token):
        assert client.send("POST", "/products/register", token, json=a_product()).status_code == 401

    def test_the_refresh_token_is_not_an_access_token(self, client):
        assert client.send("POST", "/products/register", REFRESH_TOKEN, json=a_product()).status_code == 401

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("id", "kettle"),
            ("id", 7),
            ("id", "6fa459eaee8a4ca4894edb77e160355e"),
            ("name", 7),
            ("name", None),
            ("description", ["Boils"]),
        ],
    )
    def test_a_field_of_another_type_is_422(self, client, sandbox, field, value):
        response = client.send("POST", "/products/register", client.access_token, json=a_product() | {field: value})

        assert response.status_code == 422
        assert response.json()["detail"][0]["loc"] == ["body", field]
        assert sandbox.service.registered == {}

    def test_every_missing_field_is_named(self, client):
        response = client.send("POST", "/products/register", client.access_token, json={})

        assert response.status_code == 422
        assert [error["loc"][1] for error in response.json()["detail"]] == ["id", "name", "description"]

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"\xff"', b"[" * 100_000])
    def test_a_body_that_is_not_a_json_object_is_422(self, client, body):
        headers = {"Content-Type": "application/json"}

        response = client.send("POST", "/products/register", client.access_token, data=body, headers=headers)

        assert response.status_code == 422

    def test_a_body_without_the_media_type_of_json_is_422(self, client):
        body = json.dumps(a_product())

        assert client.send("POST", "/products/register", client.access_token, data=body).status_code == 422

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(50), deadline=None)
    @given(
        st.fixed_dictionaries(
            {},
            optional={
                "id": st.uuids().map(str) | st.text(string.printable),
                "name": st.text() | st.none(),
                "description": st.text() | st.integers(),
                "price": st.integers(),
            },
        )
    )
    def test_the_response_keeps_the_contract_whatever_is_sent(self, client, product):
        response = client.send("POST", "/products/register", client.access_token, json=product)

        assert response.status_code in {201, 409, 422}


class TestOffers:
    def test_they_are_the_products_offers_at_the_current_time(self, client, product_id, clock):
        response = client.offers(product_id)

        assert response.status_code == 200
        assert response.json() == [
            {"id": str(offer.id), "price": offer.price, "items_in_stock": offer.items_in_stock}
            for offer in offers_at(product_id, clock.now)
        ]

    def test_they_change_as_time_passes(self, client, product_id, clock):
        before = client.offers(product_id).json()
        clock.now += 60

        assert client.offers(product_id).json() != before

    def test_a_test_can_set_the_offers(self, client, product_id, sandbox):
        offer = Offer(uuid4(), 12345, 6)
        sandbox.service.set_offers(product_id, [offer])
        assert client.offers(product_id).json() == [{"id": str(offer.id), "price": 12345, "items_in_stock": 6}]

        sandbox.service.set_offers(product_id, [])
        assert client.offers(product_id).json() == []

    def test_a_product_that_was_never_registered_is_404(self, client):
        assert client.offers(uuid4()).status_code == 404

    def test_without_an_access_token_it_is_401(self, client, product_id):
        assert client.send("GET", f"/products/{product_id}/offers").status_code == 401

    @pytest.mark.parametrize("text", ["kettle", "7", "%20", "6fa459ea-ee8a-4ca4-894e-db77e160355e0"])
    def test_an_id_that_is_not_a_uuid_is_422(self, client, text):
        assert client.offers(text).status_code == 422


class TestHTTP:
    @pytest.mark.parametrize("path", ["/", "/api/v1", "/api/v1/auth/", "/api/v1/products", "/api/v2/auth", "/controls"])
    def test_an_unknown_path_is_404(self, stranger, path):
        assert stranger.session.post(stranger.sandbox.url + path, timeout=5).status_code == 404

    @pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "BREW"])
    def test_another_method_is_405_and_names_the_right_one(self, stranger, method):
        response = stranger.session.request(method, f"{stranger.sandbox.base_url}/auth", timeout=5)

        assert response.status_code == 405
        assert response.headers["Allow"] == "POST"

    def test_one_connection_serves_many_requests(self, client, product_id, sandbox):
        statuses = {client.offers(product_id).status_code for _ in range(20)}

        assert statuses == {200}
        assert len(sandbox.connections) == 1

    def test_a_query_is_ignored(self, client, product_id):
        path = f"/products/{product_id}/offers?page=2"

        assert client.send("GET", path, client.access_token).status_code == 200

    def test_the_connection_closes_if_the_client_asks_for_it(self, client, product_id):
        response = client.send(
            "GET", f"/products/{product_id}/offers", client.access_token, headers={"Connection": "close"}
        )

        assert response.headers["Connection"] == "close"

    @pytest.mark.parametrize(
        ("header", "value", "status"),
        [
            ("Transfer-Encoding", "chunked", 411),
            ("Content-Length", "many", 400),
            ("Content-Length", "-1", 400),
            ("Content-Length", "1000001", 413),
        ],
    )
    def test_a_body_whose_end_is_unknown_or_too_far_away_ends_the_connection(self, sandbox, header, value, status):
        connection = http.client.HTTPConnection(sandbox.host, sandbox.port, timeout=5)
        connection.putrequest("POST", "/api/v1/auth")
        connection.putheader(header, value)
        connection.endheaders()

        response = connection.getresponse()

        assert response.status == status
        assert response.headers["Connection"] == "close"
        response.read()
        connection.close()


def a_product() -> dict[str, str]:
    return {"id": str(uuid4()), "name": "Kettle", "description": "Boils water"}
