"""quarantine and corrections: an offer has the price that is held back, and corrections of prices are recorded

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("offers") as offers:
        offers.add_column(sa.Column("quarantined", sa.JSON(), nullable=True))
    time = sa.DateTime(timezone=True)
    op.create_table(
        "price_corrections",
        sa.Column("product_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("offer_id", sa.Uuid(), nullable=False),
        sa.Column("at", time, nullable=False),
        sa.Column("wrong_from", time, nullable=False),
        sa.Column("wrong_until", time, nullable=False),
        sa.Column("price", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("changes", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["product_id"],
            ["products.id"],
            name=op.f("fk_price_corrections_product_id_products"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("product_id", "id", name=op.f("pk_price_corrections")),
    )


def downgrade() -> None:
    """Every offer keeps its accepted price, and every price stays corrected."""
    op.drop_table("price_corrections")
    with op.batch_alter_table("offers") as offers:
        offers.drop_column("quarantined")
