"""money and facts: the catalogue has a currency; an offer has a currency and says who sells what, where and how

What is stored came from the Offers service: its offers get the configured OFFERS_CURRENCY, the catalogue gets CURRENCY.
Nothing that is stored changes its meaning: an offer with items is in stock, and one without is not.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic.util import CommandError

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Tables in which an unknown number of items is NULL.
_STEPS = ("offer_prices", "offer_price_days")
_FACTS = ("currency", "condition", "availability", "seller", "url", "shipping", "external_id")
_CHECKS = {
    "shipping_not_negative": "shipping >= 0",
    "condition_known": "condition IN ('new', 'refurbished', 'used', 'unknown')",
    "availability_known": (
        "availability IN ('in_stock', 'out_of_stock', 'preorder', 'backorder', 'discontinued', 'unknown')"
    ),
}


def upgrade() -> None:
    configured = op.get_context().config.attributes
    currency, offers_currency = configured["currency"], configured["offers_currency"]
    if currency != offers_currency and _has_prices():
        raise CommandError(
            f"what is stored are prices of the Offers service in {offers_currency} (OFFERS_CURRENCY), which cannot "
            f"become prices of a catalogue in {currency} (CURRENCY): set CURRENCY={offers_currency}"
        )
    catalogue = op.create_table(
        "catalogue",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_catalogue_only_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_catalogue")),
    )
    op.bulk_insert(catalogue, [{"id": 1, "currency": currency}])
    for table in _STEPS:
        _set_nullable(table, nullable=True)
    # The defaults fill the rows that are there, on PostgreSQL without rewriting them.
    defaults = {"currency": offers_currency, "condition": "unknown", "availability": "out_of_stock"}
    with op.batch_alter_table("offers") as offers:
        offers.alter_column("items_in_stock", existing_type=sa.BigInteger(), nullable=True)
        for name, default in defaults.items():
            offers.add_column(sa.Column(name, sa.Text(), server_default=default, nullable=False))
        offers.add_column(sa.Column("seller", sa.Text(), nullable=True))
        offers.add_column(sa.Column("url", sa.Text(), nullable=True))
        offers.add_column(sa.Column("shipping", sa.BigInteger(), nullable=True))
        offers.add_column(sa.Column("external_id", sa.Text(), nullable=True))
    op.execute("UPDATE offers SET availability = 'in_stock' WHERE items_in_stock > 0")
    with op.batch_alter_table("offers") as offers:
        for name in defaults:
            offers.alter_column(name, existing_type=sa.Text(), server_default=None)
        for name, condition in _CHECKS.items():
            offers.create_check_constraint(op.f(f"ck_offers_{name}"), condition)


def downgrade() -> None:
    """What the earlier version would misunderstand goes: offers in other currencies; an untold number becomes 1."""
    foreign = "SELECT product_id, id FROM offers WHERE currency <> (SELECT currency FROM catalogue)"
    for table in _STEPS:
        op.execute(f"DELETE FROM {table} WHERE (product_id, offer_id) IN ({foreign})")  # noqa: S608 - constants
        op.execute(f"UPDATE {table} SET items_in_stock = 1 WHERE items_in_stock IS NULL")  # noqa: S608 - constants
        _set_nullable(table, nullable=False)
    op.execute(f"DELETE FROM offers WHERE (product_id, id) IN ({foreign})")  # noqa: S608 - constants
    op.execute("UPDATE offers SET items_in_stock = 0 WHERE availability NOT IN ('in_stock', 'unknown')")
    op.execute(
        "UPDATE offers SET items_in_stock = CASE availability WHEN 'in_stock' THEN 1 ELSE 0 END"
        " WHERE items_in_stock IS NULL"
    )
    with op.batch_alter_table("offers") as offers:
        for name in _CHECKS:
            offers.drop_constraint(op.f(f"ck_offers_{name}"), type_="check")
        for name in _FACTS:
            offers.drop_column(name)
        offers.alter_column("items_in_stock", existing_type=sa.BigInteger(), nullable=False)
    op.drop_table("catalogue")


def _has_prices() -> bool:
    return any(
        op.get_bind().execute(sa.text(f"SELECT 1 FROM {table} LIMIT 1")).first()  # noqa: S608 - constants
        for table in ("offers", "product_prices", "product_price_days")
    )


def _set_nullable(table: str, *, nullable: bool) -> None:
    with op.batch_alter_table(table) as steps:
        steps.alter_column("items_in_stock", existing_type=sa.BigInteger(), nullable=nullable)
