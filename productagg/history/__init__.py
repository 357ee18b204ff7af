"""What products and offers cost over time: series, trends, verdicts, prior prices, and keeping years of it.

A history is a step function of time: a price in stock, sold out, or not observed. Every step is stored once: as a row
of its own, or, in old days with many steps, within the row of a summarised day (see day_summaries). All arithmetic is
on whole numbers (prices in minor units, microseconds) until the last division. Queries take a connection and
plain values; only the sync and the `history` commands write.
"""


class UnknownProduct(Exception):
    """There is no product of this id."""


class UnknownOffer(Exception):
    """The product never had an offer of this id, or the offer was closed long ago."""
