"""What products and offers cost over time: series, as-of reads, trends, verdicts, and keeping years of it.

A history is a step function of time: a price in stock, or sold out, or not observed. Raw rows are its steps; roll-ups
sum up its hours and days for good. All arithmetic is on whole numbers (prices in the upstream's unit, microseconds)
until the last division. Readers take a connection and plain values; only the sync and the `history` commands write.
"""
