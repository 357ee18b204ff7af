"""the schema of the first release: on PostgreSQL, the price histories are partitioned by month

Revision ID: 0001
Revises:
"""

from datetime import UTC, datetime
from itertools import pairwise

import sqlalchemy as sa

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "changes",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("product_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sort_name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lowest", sa.BigInteger(), nullable=True),
        sa.Column("items_in_stock", sa.BigInteger(), nullable=True),
        sa.Column("search_text", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(items_in_stock IS NOT NULL) = (kind = 'offers') AND (lowest IS NULL OR kind = 'offers')",
            name=op.f("ck_changes_offers_has_old_values"),
        ),
        sa.CheckConstraint(
            "(sort_name IS NOT NULL) = (kind = 'changed') AND (updated_at IS NOT NULL) = (kind = 'changed')",
            name=op.f("ck_changes_changed_has_old_values"),
        ),
        sa.CheckConstraint("kind IN ('created', 'changed', 'deleted', 'offers')", name=op.f("ck_changes_kind_known")),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_changes")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        op.f("ix_changes_product_id_kind_sequence"), "changes", ["product_id", "kind", "sequence"], unique=False
    )
    op.create_table(
        "history_progress",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("raw_from", sa.DateTime(timezone=True), nullable=True),
        sa.Column("offers_from", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("id = 1", name=op.f("ck_history_progress_only_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_history_progress")),
    )
    op.create_table(
        "login_counters",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_login_counters")),
    )
    op.create_index(op.f("ix_login_counters_expires_at"), "login_counters", ["expires_at"], unique=False)
    op.create_table(
        "products",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("search_text", sa.Text(), nullable=False),
        sa.Column("sort_name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.CheckConstraint("length(trim(name)) > 0", name=op.f("ck_products_name_not_empty")),
        sa.CheckConstraint("version > 0", name=op.f("ck_products_version_positive")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_products")),
        sa.UniqueConstraint("name", name=op.f("uq_products_name")),
    )
    op.create_index(op.f("ix_products_created_at_id"), "products", ["created_at", "id"], unique=False)
    op.create_index(op.f("ix_products_sort_name_id"), "products", ["sort_name", "id"], unique=False)
    op.create_index(op.f("ix_products_updated_at_id"), "products", ["updated_at", "id"], unique=False)
    op.create_table(
        "sync_runs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("leased", sa.Integer(), nullable=False),
        sa.Column("fetched", sa.Integer(), nullable=False),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("closed", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("failures", sa.JSON(), nullable=False),
        sa.Column("requests", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("longest_wait_seconds", sa.Double(), nullable=False),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sync_runs")),
    )
    op.create_table(
        "upstream_tokens",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("access_token", sa.Text(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("refreshing_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("blocked_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("blocked_reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("account", name=op.f("pk_upstream_tokens")),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("token_generation", sa.Integer(), nullable=False),
        sa.CheckConstraint("role IN ('admin', 'reader')", name=op.f("ck_users_role_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("username", name=op.f("uq_users_username")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("headers", sa.JSON(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint(
            "(leased_until IS NULL) = (status IS NOT NULL) AND (status IS NULL) = (headers IS NULL) "
            "AND (status IS NULL) = (body IS NULL)",
            name=op.f("ck_idempotency_keys_leased_or_answered"),
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_idempotency_keys_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index(op.f("ix_idempotency_keys_created_at"), "idempotency_keys", ["created_at"], unique=False)
    op.create_table(
        "offer_price_days",
        sa.Column("product_id", sa.Uuid(), nullable=False),
        sa.Column("offer_id", sa.Uuid(), nullable=False),
        sa.Column("observed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("price", sa.BigInteger(), nullable=False),
        sa.Column("items_in_stock", sa.BigInteger(), nullable=False),
        sa.Column("summary", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(
            ["product_id"], ["products.id"], name=op.f("fk_offer_price_days_product_id_products"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("product_id", "offer_id", "observed_at", name=op.f("pk_offer_price_days")),
    )
    op.create_table(
        "offer_prices",
        sa.Column("product_id", sa.Uuid(), nullable=False),
        sa.Column("offer_id", sa.Uuid(), nullable=False),
        sa.Column("observed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("price", sa.BigInteger(), nullable=False),
        sa.Column("items_in_stock", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("items_in_stock >= 0", name=op.f("ck_offer_prices_items_in_stock_not_negative")),
        sa.CheckConstraint("price >= 0", name=op.f("ck_offer_prices_price_not_negative")),
        sa.ForeignKeyConstraint(
            ["product_id"], ["products.id"], name=op.f("fk_offer_prices_product_id_products"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("product_id", "offer_id", "observed_at", name=op.f("pk_offer_prices")),
        postgresql_partition_by="RANGE (observed_at)",
    )
    op.create_table(
        "offers",
        sa.Column("product_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("price", sa.BigInteger(), nullable=False),
        sa.Column("items_in_stock", sa.BigInteger(), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("items_in_stock >= 0", name=op.f("ck_offers_items_in_stock_not_negative")),
        sa.CheckConstraint("price >= 0", name=op.f("ck_offers_price_not_negative")),
        sa.ForeignKeyConstraint(
            ["product_id"], ["products.id"], name=op.f("fk_offers_product_id_products"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("product_id", "id", name=op.f("pk_offers")),
    )
    op.create_index(
        "ix_offers_closed",
        "offers",
        ["product_id", "closed_at", "id"],
        unique=False,
        postgresql_where=sa.text("closed_at IS NOT NULL"),
        sqlite_where=sa.text("closed_at IS NOT NULL"),
    )
    op.create_index(
        "ix_offers_open",
        "offers",
        ["product_id"],
        unique=False,
        postgresql_where=sa.text("closed_at IS NULL"),
        sqlite_where=sa.text("closed_at IS NULL"),
    )
    op.create_table(
        "product_price_days",
        sa.Column("product_id", sa.Uuid(), nullable=False),
        sa.Column("observed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lowest", sa.BigInteger(), nullable=True),
        sa.Column("average", sa.BigInteger(), nullable=True),
        sa.Column("offers", sa.Integer(), nullable=False),
        sa.Column("items_in_stock", sa.BigInteger(), nullable=False),
        sa.Column("observed", sa.Boolean(), nullable=False),
        sa.Column("summary", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(
            ["product_id"], ["products.id"], name=op.f("fk_product_price_days_product_id_products"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("product_id", "observed_at", name=op.f("pk_product_price_days")),
    )
    op.create_table(
        "product_prices",
        sa.Column("product_id", sa.Uuid(), nullable=False),
        sa.Column("observed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lowest", sa.BigInteger(), nullable=True),
        sa.Column("average", sa.BigInteger(), nullable=True),
        sa.Column("offers", sa.Integer(), nullable=False),
        sa.Column("items_in_stock", sa.BigInteger(), nullable=False),
        sa.Column("observed", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            "(lowest IS NULL) = (offers = 0) AND (average IS NULL) = (offers = 0)",
            name=op.f("ck_product_prices_sold_out_is_null"),
        ),
        sa.CheckConstraint("average >= lowest", name=op.f("ck_product_prices_average_not_below_lowest")),
        sa.CheckConstraint("lowest >= 0", name=op.f("ck_product_prices_lowest_not_negative")),
        sa.CheckConstraint(
            "observed OR (offers = 0 AND items_in_stock = 0)", name=op.f("ck_product_prices_gap_is_empty")
        ),
        sa.CheckConstraint("offers >= 0 AND items_in_stock >= 0", name=op.f("ck_product_prices_counts_not_negative")),
        sa.ForeignKeyConstraint(
            ["product_id"], ["products.id"], name=op.f("fk_product_prices_product_id_products"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("product_id", "observed_at", name=op.f("pk_product_prices")),
        postgresql_partition_by="RANGE (observed_at)",
    )
    op.create_table(
        "product_summaries",
        sa.Column("product_id", sa.Uuid(), nullable=False),
        sa.Column("observed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lowest", sa.BigInteger(), nullable=True),
        sa.Column("average", sa.BigInteger(), nullable=True),
        sa.Column("offers", sa.Integer(), nullable=False),
        sa.Column("items_in_stock", sa.BigInteger(), nullable=False),
        sa.Column("compared_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lowest_24h", sa.BigInteger(), nullable=True),
        sa.Column("lowest_7d", sa.BigInteger(), nullable=True),
        sa.Column("lowest_30d", sa.BigInteger(), nullable=True),
        sa.Column("compare_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["product_id"], ["products.id"], name=op.f("fk_product_summaries_product_id_products"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("product_id", name=op.f("pk_product_summaries")),
    )
    op.create_index(op.f("ix_product_summaries_compare_at"), "product_summaries", ["compare_at"], unique=False)
    op.create_index(
        op.f("ix_product_summaries_items_in_stock_product_id"),
        "product_summaries",
        ["items_in_stock", "product_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_product_summaries_lowest_product_id"), "product_summaries", ["lowest", "product_id"], unique=False
    )
    op.create_table(
        "product_sync",
        sa.Column("product_id", sa.Uuid(), nullable=False),
        sa.Column("registration", sa.Text(), nullable=False),
        sa.Column("registered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_sync_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_synced_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_changed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "registration IN ('pending', 'registered', 'failed')", name=op.f("ck_product_sync_registration_known")
        ),
        sa.CheckConstraint("failures >= 0", name=op.f("ck_product_sync_failures_not_negative")),
        sa.ForeignKeyConstraint(
            ["product_id"], ["products.id"], name=op.f("fk_product_sync_product_id_products"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("product_id", name=op.f("pk_product_sync")),
    )
    op.create_index(op.f("ix_product_sync_next_sync_at"), "product_sync", ["next_sync_at"], unique=False)
    op.execute("INSERT INTO history_progress (id) VALUES (1)")
    if op.get_bind().dialect.name == "postgresql":
        _postgresql_only()


def _postgresql_only() -> None:
    # A trusted extension: the owner of a database may create it.
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    op.create_index(
        "ix_products_search_text",
        "products",
        ["search_text"],
        postgresql_using="gin",
        postgresql_ops={"search_text": "gin_trgm_ops"},
    )
    # A few rows among the many that report offers. (SQLite would not use this index.)
    op.create_index("ix_changes_changed", "changes", ["sequence"], postgresql_where=sa.text("kind = 'changed'"))
    # Updated twice a minute: with room on its page, taking a lease touches no index (HOT) and costs less WAL.
    op.execute("ALTER TABLE product_sync SET (fillfactor = 60)")
    for table in ("offer_prices", "product_prices"):
        op.execute(f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT")
        for begin, end in pairwise(_months()):
            window = f"FROM ('{begin}') TO ('{end}')"
            op.execute(f"CREATE TABLE {table}_{begin:%Y_%m} PARTITION OF {table} FOR VALUES {window}")


def _months() -> list[datetime]:
    """The beginnings of this month and of the next three."""
    now = datetime.now(UTC)
    first = now.year * 12 + now.month - 1
    return [datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC) for number in range(first, first + 4)]


def downgrade() -> None:
    # The extension stays: other tables of the database may use it by now.
    for table in (
        "product_sync",
        "product_summaries",
        "product_prices",
        "product_price_days",
        "offers",
        "offer_prices",
        "offer_price_days",
        "idempotency_keys",
        "users",
        "upstream_tokens",
        "sync_runs",
        "products",
        "login_counters",
        "history_progress",
        "changes",
    ):
        op.drop_table(table)
