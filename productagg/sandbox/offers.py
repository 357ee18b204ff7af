"""A product's offers at a given time: a pure function, so that the sandbox is consistent without storing anything.

The service calls it for every list of offers; tests call it to know what to expect. It never reads a clock, draws a
random number (hashes of the product, the slot and the minute take that role) or holds a price in a float.

A product has a base price and some slots. A slot holds one offer after another: a pause, then an offer whose stock
falls minute by minute until it is sold out and disappears, then the next pause and an offer with a new id.
"""

import math
import struct
from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple
from uuid import UUID

MILLION = 1_000_000


class Offer(NamedTuple):
    """One shop's offer: `price` is a positive integer in the smallest unit of money, `items_in_stock` at least 1."""

    id: UUID
    price: int
    items_in_stock: int


# Returns a product's offers at a Unix time: `offers_at`, unless a test replaces it.
OffersSource = Callable[[UUID, float], list[Offer]]


def offers_at(product_id: UUID, when: float) -> list[Offer]:
    """Return the product's offers at `when`, in Unix seconds (0 or later).

    The same arguments give the same list, in the same order, in every process. Prices and stocks change at most once a
    minute, at a second that differs between products, so that a catalogue does not change all at once. Usually there
    are a few offers; now and then there are none.
    """
    decade, mantissa, slots, second, long_period, long_shift, short_period, short_shift = draw(product_id.hex)
    base_price = 10 ** (decade % 3) * (100 + mantissa % 900)
    minute = int(when + second % 60) // 60
    market = wave(minute + long_shift, 720 + long_period % 1440, 80_000)
    market += wave(minute + short_shift, 50 + short_period % 150, 25_000)
    in_slots = (_offer_in_slot(product_id, slot, minute, base_price, market) for slot in range(5 + slots % 11))
    return [offer for offer in in_slots if offer is not None]


def _offer_in_slot(product_id: UUID, slot: int, minute: int, base_price: int, market: int) -> Offer | None:
    """Return the slot's offer, None during the pauses before and after an offer's life."""
    slot_key = f"{product_id.hex}/{slot}"
    length, shift, *_ = draw(slot_key)
    length = 40 + length % 261
    epoch, minute_of_epoch = divmod(minute + shift % length, length)

    offer_key = f"{slot_key}/{epoch}"
    id_high, id_low, pause, life, stock, spread, period, phase = draw(offer_key)
    pause = 1 + pause % (length // 4)
    life = length // 2 + life % (length - pause - length // 2 + 1)
    age = minute_of_epoch - pause
    if not 0 <= age < life:
        return None

    sales, jitter, *_ = draw(f"{offer_key}/{age}")
    # Sales happen at a varying moment of the minute. That makes them irregular but never lets the stock rise.
    initial_stock = 1 + stock % 150
    sold = initial_stock * (1000 * age + sales % 1000) // (1000 * life)

    spread = spread % 240_001 - 120_000
    wander = wave(age + phase, 12 + period % 30, 12_000) + jitter % 4_001 - 2_000
    return Offer(
        id=UUID(int=id_high << 64 | id_low, version=4),
        price=base_price * (MILLION + spread + market + wander) // MILLION,
        items_in_stock=initial_stock - sold,
    )


def wave(minute: int, period: int, amplitude: int) -> int:
    """Return the height of a sine wave. The period is in minutes, the amplitude in millionths of a price."""
    return round(amplitude * math.sin(math.tau * (minute % period) / period))


def draw(key: str) -> tuple[int, ...]:
    """Return eight 64-bit numbers that depend only on the key and look random."""
    return struct.unpack(">8Q", blake2b(key.encode()).digest())
