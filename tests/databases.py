"""For tests that are about one database, or for which one is enough."""

import pytest

# PostgreSQL would prove nothing more: the test is about HTTP, or about what only SQLite does.
only_sqlite = pytest.mark.parametrize("migrated_database", ["sqlite"], indirect=True)
only_postgresql = pytest.mark.parametrize("migrated_database", ["postgresql"], indirect=True)
