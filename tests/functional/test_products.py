"""The catalogue over HTTP."""

from uuid import uuid4


def test_a_new_product_has_offers_as_soon_as_the_background_has_asked(client, admin, upstream):
    created = client.post_json("/products", {"name": "Lamp", "description": "Bright"}, headers=admin, status=201)
    assert created.json["registration"] == "pending"
    client.background.wait()

    product = client.get(f"/products/{created.json['id']}").json

    assert product["registration"] == "registered"
    assert product["last_synced_at"] is not None
    assert product["offers"] == []


def test_an_unknown_product_is_not_found(client):
    answer = client.get(f"/products/{uuid4()}", status=404)
    assert answer.content_type == "application/problem+json"
    assert answer.json["code"] == "product-not-found"
