"""The Offers service: the source that every product has."""
