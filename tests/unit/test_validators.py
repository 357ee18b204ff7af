"""The values that views read are typed: a type that differs from the schema of clients stops the start."""

from typing import TypedDict

import pytest

from productagg.api.core.fields import limit
from productagg.api.core.validators import json_array, json_body, query
from productagg.catalog.product_schema import NEW_PRODUCT
from productagg.schema_types import mapping


class Limit(TypedDict):
    limit: int


class LimitAndCursor(Limit):
    cursor: str


class Name(TypedDict):
    name: str


def test_a_type_with_the_names_of_the_schema_is_accepted():
    assert query(mapping(limit()), Limit).query is not None


def test_a_query_whose_type_has_other_names_is_refused():
    with pytest.raises(TypeError, match="LimitAndCursor and its schema differ"):
        query(mapping(limit()), LimitAndCursor)


def test_a_body_whose_type_lacks_a_member_is_refused():
    with pytest.raises(TypeError, match="Name and its schema differ"):
        json_body(NEW_PRODUCT, Name)
    with pytest.raises(TypeError, match="Name and its schema differ"):
        json_array(NEW_PRODUCT, Name, 10, 1000)


def test_only_a_typed_dict_will_do():
    with pytest.raises(TypeError, match="dict and its schema differ"):
        query(mapping(limit()), dict)
