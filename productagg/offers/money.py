"""Money: amounts are integers in the currency's minor unit (ISO 4217), never floats.

This is the one place that converts between an amount in major units, as a shop writes it, and minor units.
"""

from decimal import ROUND_HALF_UP, Decimal

from productagg.currencies import EXPONENTS

# The largest amount that a 64-bit column holds.
MAX_AMOUNT = 2**63 - 1


class UnknownCurrency(ValueError):
    """The code is not one of a currency that prices can be in."""


class AmountOutOfRange(ValueError):
    """The amount is negative, not a finite number, or more than a 64-bit column holds."""


def exponent(currency: str) -> int:
    """Digits of the currency's minor unit. Raises UnknownCurrency."""
    try:
        return EXPONENTS[currency]
    except KeyError:
        raise UnknownCurrency(f"{currency!r} is not a currency of ISO 4217 with a minor unit") from None


def to_minor(amount: Decimal, currency: str) -> int:
    """An amount in major units, in minor units; a fraction of a minor unit is rounded half up.

    Raises UnknownCurrency, AmountOutOfRange.
    """
    digits = exponent(currency)
    # Checked before scaling: 10**1000000 would be a very long integer.
    if not (amount.is_finite() and amount >= 0 and amount.adjusted() < 19):
        raise AmountOutOfRange(f"{amount} is not an amount")
    minor = int(amount.scaleb(digits).to_integral_value(ROUND_HALF_UP))
    if minor > MAX_AMOUNT:
        raise AmountOutOfRange(f"{amount} {currency} is more than can be stored")
    return minor
