"""Ids for offers whose source has none that are UUIDs. For the sync of sources."""

from uuid import UUID, uuid5


def offer_id(source_id: UUID, external_id: str, currency: str) -> UUID:
    """The id of an offer: a UUIDv5 of its source, its id at the source and its currency (ISO 4217).

    The same three always give the same id, so an offer that comes back continues its history. With another currency it
    is another offer: its prices cannot be compared with the earlier ones.
    """
    # A currency has three letters, so no other pair gives the same text.
    return uuid5(source_id, f"{currency} {external_id}")
