"""Tables at any migration, which the models do not describe."""

from sqlalchemy import MetaData, select

from productagg.db.models import Base

# What a table is called now.
RENAMED = {"product_sync": "product_sources"}


def reflected(database):
    """The tables as the database has them, with the types of the models where there are some."""
    found = MetaData()
    with database.reader.connect() as connection:
        found.reflect(connection)
    for name, table in found.tables.items():
        model = Base.metadata.tables.get(RENAMED.get(name, name))
        for column in table.columns:
            if model is not None and column.name in model.columns:
                column.type = model.columns[column.name].type
    return found.tables


def columns(database):
    """The names of all columns of all tables, as the database has them now."""
    return {name: [*table.columns.keys()] for name, table in reflected(database).items() if name != "alembic_version"}


def contents(database, columns):
    """All rows of tables: of each, the columns that are named."""
    tables = reflected(database)
    with database.reader.connect() as connection:
        return {
            name: [tuple(row) for row in connection.execute(select(*(tables[name].c[column] for column in wanted)))]
            for name, wanted in columns.items()
        }
