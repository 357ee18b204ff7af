"""The current offers of a product: reconciling them with a list, their summary, and the cost of several units."""
