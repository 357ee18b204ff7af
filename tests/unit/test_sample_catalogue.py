"""The sample products are products as the API takes them."""

import json
from importlib.resources import files

from productagg.catalog.product_schema import NEW_PRODUCT
from productagg.schema_types import validate


def test_every_sample_is_valid_and_has_a_category_and_a_gtin():
    samples = json.loads(files("productagg").joinpath("sample_catalogue.json").read_text("utf-8"))
    for sample in samples:
        del sample["sandbox"]

    assert [validate(NEW_PRODUCT, sample)[1] for sample in samples] == [{}] * len(samples)
    assert all(sample["category"] and sample["gtin"] for sample in samples)
