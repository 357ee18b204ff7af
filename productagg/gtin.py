"""GTINs: the numbers under bar codes.

Source: GS1 General Specifications, 7.9 (the check digit) and 2.1 (restricted circulation).
"""

_LENGTHS = (8, 12, 13, 14)


def normalize_gtin(text: str) -> str | None:
    """The GTIN as 8, 13 or 14 digits; None for whatever else stands in a field for it.

    A GTIN-12 (UPC) gets the zero that makes it a GTIN-13, and a GTIN-14 that begins with a zero loses it. Numbers that
    shops assign themselves (they begin with 2) identify nothing outside their shop: None.
    """
    digits = text if text.isdigit() else text.strip().replace(" ", "").replace("-", "")
    if not (len(digits) in _LENGTHS and digits.isascii() and digits.isdigit() and _is_checked(digits)):
        return None
    if len(digits) == 14 and digits.startswith("0"):
        digits = digits[1:]
    if len(digits) == 12:
        digits = "0" + digits
    # An UPC that begins with 2 (here 02) is the same thing: goods weighed in the shop.
    restricted = digits.startswith(("2", "02")) if len(digits) > 8 else digits.startswith(("0", "2"))
    return None if restricted or not digits.strip("0") else digits


def _is_checked(digits: str) -> bool:
    """Whether the last digit is the right check digit: weights 1 and 3 from the right."""
    return (sum(map(int, digits[-1::-2])) + 3 * sum(map(int, digits[-2::-2]))) % 10 == 0
