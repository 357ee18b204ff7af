"""Checks of options that the configurations of several adapters have."""

import colander

from productagg.sources.prices import NoPrice, normalize_currency


def check_currency(node: colander.SchemaNode, value: str) -> None:
    """Check that an option is a currency that prices can be in. Raises colander.Invalid."""
    try:
        normalize_currency(value)
    except NoPrice:
        raise colander.Invalid(node, "must be a currency code of ISO 4217") from None
