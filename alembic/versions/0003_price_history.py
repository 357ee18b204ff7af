"""price history: gaps, roll-ups, summaries; on PostgreSQL the raw tables are partitioned by month

Revision ID: 0003
Revises: 0002
"""

from datetime import UTC, datetime
from itertools import pairwise

import sqlalchemy as sa

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_RAW = ("offer_prices", "product_prices")


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table in _RAW:
            _rebuild(table, partitioned=True)
    with op.batch_alter_table("product_prices") as table:
        # Until now a row was written only for what was observed.
        table.add_column(sa.Column("observed", sa.Boolean(), nullable=False, server_default=sa.true()))
        table.create_check_constraint(
            op.f("ck_product_prices_gap_says_nothing"), "observed OR (offers = 0 AND items_in_stock = 0)"
        )
    with op.batch_alter_table("product_prices") as table:
        table.alter_column("observed", server_default=None)

    for name in ("product_prices_hourly", "product_prices_daily", "product_prices_weekly"):
        _create(name, [], [*_rollup(), *_average_rollup()])
    for name in ("offer_prices_hourly", "offer_prices_daily"):
        _create(name, [sa.Column("offer_id", sa.Uuid(), nullable=False)], _rollup())
    op.create_table(
        "history_progress",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("rolled_until", _TIME, nullable=True),
        sa.Column("raw_from", _TIME, nullable=True),
        sa.CheckConstraint("id = 1", name=op.f("ck_history_progress_only_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_history_progress")),
    )
    op.execute("INSERT INTO history_progress (id) VALUES (1)")
    op.create_table(
        "history_late",
        sa.Column("product_id", sa.Uuid(), nullable=False),
        sa.Column("since", _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["product_id"], ["products.id"], name=op.f("fk_history_late_product_id_products"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("product_id", name=op.f("pk_history_late")),
    )
    op.create_table(
        "product_summaries",
        sa.Column("product_id", sa.Uuid(), nullable=False),
        sa.Column("observed_at", _TIME, nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=True) for name in ("lowest", "average")),
        sa.Column("offers", sa.Integer(), nullable=False),
        sa.Column("items_in_stock", sa.BigInteger(), nullable=False),
        sa.Column("compared_at", _TIME, nullable=True),
        *(sa.Column(name, sa.BigInteger(), nullable=True) for name in ("lowest_24h", "lowest_7d", "lowest_30d")),
        sa.Column("compare_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["product_id"], ["products.id"], name=op.f("fk_product_summaries_product_id_products"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("product_id", name=op.f("pk_product_summaries")),
    )
    op.create_index(op.f("ix_product_summaries_compare_at"), "product_summaries", ["compare_at"], unique=False)
    op.execute(
        """
        INSERT INTO product_summaries (
            product_id, observed_at, lowest, average, offers, items_in_stock, compare_at
        )
        SELECT product_id, observed_at, lowest, average, offers, items_in_stock, observed_at
        FROM product_prices AS newest
        WHERE NOT EXISTS (
            SELECT 1 FROM product_prices AS later
            WHERE later.product_id = newest.product_id AND later.observed_at > newest.observed_at
        )
        """
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_product_summaries_compare_at"), table_name="product_summaries")
    op.drop_table("product_summaries")
    op.drop_table("history_late")
    op.drop_table("history_progress")
    for name in ("offer_prices_daily", "offer_prices_hourly"):
        op.drop_table(name)
    for name in ("product_prices_weekly", "product_prices_daily", "product_prices_hourly"):
        op.drop_table(name)
    # What came before knows no gaps: it would take them for 'sold out'.
    op.execute("DELETE FROM product_prices WHERE NOT observed")
    with op.batch_alter_table("product_prices") as table:
        table.drop_constraint(op.f("ck_product_prices_gap_says_nothing"), type_="check")
        table.drop_column("observed")
    if op.get_bind().dialect.name == "postgresql":
        for table in _RAW:
            _rebuild(table, partitioned=False)


def _rebuild(table: str, *, partitioned: bool) -> None:
    """Move a raw table's rows to a new one of the same columns and constraints, with or without monthly partitions."""
    old = f"{table}_before"
    op.execute(f"ALTER TABLE {table} RENAME TO {old}")
    op.execute(f"ALTER TABLE {old} DROP CONSTRAINT pk_{table}, DROP CONSTRAINT fk_{table}_product_id_products")
    kind = " PARTITION BY RANGE (observed_at)" if partitioned else ""
    op.execute(f"CREATE TABLE {table} (LIKE {old} INCLUDING ALL){kind}")
    if partitioned:
        op.execute(f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT")
        for begin, end in _months(old):
            op.execute(
                f"CREATE TABLE {table}_{begin:%Y_%m} PARTITION OF {table} FOR VALUES FROM ('{begin}') TO ('{end}')"
            )
    op.execute(f"INSERT INTO {table} SELECT * FROM {old}")  # noqa: S608
    op.execute(f"DROP TABLE {old}")
    # After the rows: building an index at once is faster than row by row.
    key = {"offer_prices": "product_id, offer_id, observed_at", "product_prices": "product_id, observed_at"}[table]
    op.execute(f"ALTER TABLE {table} ADD CONSTRAINT pk_{table} PRIMARY KEY ({key})")
    op.execute(
        f"ALTER TABLE {table} ADD CONSTRAINT fk_{table}_product_id_products"
        " FOREIGN KEY (product_id) REFERENCES products (id) ON DELETE CASCADE"
    )


def _months(table: str) -> list[tuple[datetime, datetime]]:
    """The months of the table's rows, at most the last ten years of them, this month and the next two."""
    now = datetime.now(UTC)
    oldest = op.get_bind().execute(sa.text(f"SELECT min(observed_at) FROM {table}")).scalar() or now  # noqa: S608
    oldest = max(min(oldest.astimezone(UTC), now), now.replace(year=now.year - 10, day=1))
    first, last = oldest.year * 12 + oldest.month - 1, now.year * 12 + now.month - 1 + 2
    begins = [datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC) for number in range(first, last + 2)]
    return list(pairwise(begins))


def _create(name: str, keys: list[sa.Column], columns: list[sa.Column]) -> None:
    keys = [sa.Column("product_id", sa.Uuid(), nullable=False), *keys, sa.Column("at", _TIME, nullable=False)]
    op.create_table(
        name,
        *keys,
        *columns,
        sa.CheckConstraint("state IN ('in_stock', 'sold_out', 'not_observed')", name=op.f(f"ck_{name}_state_known")),
        sa.ForeignKeyConstraint(
            ["product_id"], ["products.id"], name=op.f(f"fk_{name}_product_id_products"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint(*(each.name for each in keys), name=op.f(f"pk_{name}")),
    )


def _rollup() -> list[sa.Column]:
    return [
        sa.Column("state", sa.Text(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("in_stock_us", "observed_us")),
        *(sa.Column(name, sa.BigInteger(), nullable=True) for name in ("open", "close", "lowest", "highest")),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("mean", "remainder")),
        sa.Column("changes", sa.Integer(), nullable=False),
        sa.Column("items_in_stock", sa.BigInteger(), nullable=False),
    ]


def _average_rollup() -> list[sa.Column]:
    nullable = ("average_open", "average_close", "average_lowest", "average_highest")
    return [
        *(sa.Column(name, sa.BigInteger(), nullable=True) for name in nullable),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("average_mean", "average_remainder")),
        sa.Column("average_changes", sa.Integer(), nullable=False),
        sa.Column("offers", sa.Integer(), nullable=False),
    ]
