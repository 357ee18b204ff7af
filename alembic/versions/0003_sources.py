"""sources: products and offers are at a source; what there is so far is at the Offers service

Revision ID: 0003
Revises: 0002
"""

from datetime import UTC, datetime
from uuid import UUID

import sqlalchemy as sa

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# 32 digits: SQLite stores them so, and PostgreSQL reads them.
_OFFERS_SERVICE = "00000000000070008000000000000001"
_STATE = (
    "registration, registered_at, next_sync_at, leased_until, last_asked_at, last_synced_at, last_changed_at, "
    "failures, last_error"
)
_OFFER = "product_id, id, price, items_in_stock, first_seen_at, changed_at, closed_at"


def upgrade() -> None:
    _create_sources()
    _create_product_sources()
    op.execute(
        f"INSERT INTO product_sources (product_id, source_id, {_STATE})"  # noqa: S608
        f" SELECT product_id, '{_OFFERS_SERVICE}', {_STATE} FROM product_sync"
    )
    op.drop_table("product_sync")
    if op.get_bind().dialect.name == "postgresql":
        # A default does not rewrite the table.
        source_id = sa.Column("source_id", sa.Uuid(), server_default=sa.text(f"'{_OFFERS_SERVICE}'"), nullable=False)
        op.add_column("offers", source_id)
        op.alter_column("offers", "source_id", server_default=None)
        op.create_foreign_key(op.f("fk_offers_source_id_sources"), "offers", "sources", ["source_id"], ["id"])
        # Updated twice a minute: with room on its page, taking a lease touches no index (HOT) and costs less WAL.
        op.execute("ALTER TABLE product_sources SET (fillfactor = 60)")
    else:
        source = sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name=op.f("fk_offers_source_id_sources"))
        _rebuild_offers(f"'{_OFFERS_SERVICE}'", sa.Column("source_id", sa.Uuid(), nullable=False), source)


def _create_sources() -> None:
    sources = op.create_table(
        "sources",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("configuration", sa.JSON(), nullable=False),
        sa.Column("secret_variable", sa.Text(), nullable=True),
        sa.Column("interval_seconds", sa.Integer(), nullable=True),
        sa.Column("requests_per_second", sa.Double(), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("blocked_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("blocked_reason", sa.Text(), nullable=True),
        sa.Column("next_sync_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_synced_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("validators", sa.JSON(), nullable=True),
        sa.Column("item_count", sa.Integer(), nullable=True),
        sa.Column("fewer_item_count", sa.Integer(), nullable=True),
        sa.Column("unmatched_count", sa.Integer(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("length(trim(name)) > 0", name=op.f("ck_sources_name_not_empty")),
        sa.CheckConstraint("interval_seconds > 0", name=op.f("ck_sources_interval_positive")),
        sa.CheckConstraint("requests_per_second > 0", name=op.f("ck_sources_requests_positive")),
        sa.CheckConstraint("failures >= 0", name=op.f("ck_sources_failures_not_negative")),
        sa.CheckConstraint("version > 0", name=op.f("ck_sources_version_positive")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sources")),
        sa.UniqueConstraint("name", name=op.f("uq_sources_name")),
    )
    now = datetime.now(UTC)
    offers_service = {
        "id": UUID(_OFFERS_SERVICE),
        "kind": "offers_service",
        "name": "offers",
        "configuration": {},
        "enabled": True,
        "failures": 0,
        "version": 1,
        "created_at": now,
        "updated_at": now,
    }
    op.bulk_insert(sources, [offers_service])


def _create_product_sources() -> None:
    op.create_table(
        "product_sources",
        sa.Column("product_id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("locator", sa.Text(), nullable=True),
        sa.Column("registration", sa.Text(), nullable=True),
        sa.Column("registered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_sync_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_synced_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_changed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("validators", sa.JSON(), nullable=True),
        sa.CheckConstraint(
            "registration IN ('pending', 'registered', 'failed')", name=op.f("ck_product_sources_registration_known")
        ),
        sa.CheckConstraint("failures >= 0", name=op.f("ck_product_sources_failures_not_negative")),
        sa.ForeignKeyConstraint(
            ["product_id"], ["products.id"], name=op.f("fk_product_sources_product_id_products"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name=op.f("fk_product_sources_source_id_sources")),
        sa.PrimaryKeyConstraint("product_id", "source_id", name=op.f("pk_product_sources")),
    )
    op.create_index(
        op.f("ix_product_sources_source_id_next_sync_at"),
        "product_sources",
        ["source_id", "next_sync_at"],
        unique=False,
    )
    op.create_index(
        "ix_product_sources_locator",
        "product_sources",
        ["source_id", "locator"],
        unique=False,
        postgresql_where=sa.text("locator IS NOT NULL"),
        sqlite_where=sa.text("locator IS NOT NULL"),
    )


def _rebuild_offers(source_id: str, *added: sa.schema.SchemaItem) -> None:
    """SQLite: copy the offers to a table with, or without, a source. `source_id` is the SQL of its value, if any."""
    op.drop_index("ix_offers_closed", "offers")
    op.drop_index("ix_offers_open", "offers")
    op.rename_table("offers", "offers_before")
    op.create_table(
        "offers",
        sa.Column("product_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        *(column for column in added if isinstance(column, sa.Column)),
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
        *(constraint for constraint in added if isinstance(constraint, sa.Constraint)),
        sa.PrimaryKeyConstraint("product_id", "id", name=op.f("pk_offers")),
    )
    names, values = (f"{_OFFER}, source_id", f"{_OFFER}, {source_id}") if source_id else (_OFFER, _OFFER)
    op.execute(f"INSERT INTO offers ({names}) SELECT {values} FROM offers_before")  # noqa: S608
    op.drop_table("offers_before")
    op.create_index(
        "ix_offers_closed",
        "offers",
        ["product_id", "closed_at", "id"],
        unique=False,
        sqlite_where=sa.text("closed_at IS NOT NULL"),
    )
    op.create_index("ix_offers_open", "offers", ["product_id"], unique=False, sqlite_where=sa.text("closed_at IS NULL"))


def downgrade() -> None:
    """Keeps the offers of the Offers service only: the tables before have no place for other sources."""
    op.execute(f"DELETE FROM offers WHERE source_id <> '{_OFFERS_SERVICE}'")  # noqa: S608
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint("fk_offers_source_id_sources", "offers", type_="foreignkey")
        op.drop_column("offers", "source_id")
    else:
        _rebuild_offers("")
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
    op.execute(
        f"INSERT INTO product_sync (product_id, {_STATE})"  # noqa: S608
        f" SELECT product_id, {_STATE} FROM product_sources WHERE source_id = '{_OFFERS_SERVICE}'"
    )
    op.drop_table("product_sources")
    op.drop_table("sources")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE product_sync SET (fillfactor = 60)")
