"""The settings: `options` declares every option once; `parsers` checks values; `secrets` hides them.

The composition root and the command line call `Settings.load` at start-up and pass the values on. The environment wins
over the ini file. A wrong value stops the start with one line that names the variable. A secret's value appears in no
message and no repr.
"""

from productagg.settings.options import OPTIONS, Settings, SettingsError
from productagg.settings.parsers import database_url, names_in_options
from productagg.settings.secrets import (
    DEVELOPMENT_ADMIN_PASSWORD,
    DEVELOPMENT_DATABASE_PASSWORD,
    DEVELOPMENT_JWT_SECRET,
    DEVELOPMENT_REFRESH_TOKEN,
    Secret,
)

__all__ = [
    "DEVELOPMENT_ADMIN_PASSWORD",
    "DEVELOPMENT_DATABASE_PASSWORD",
    "DEVELOPMENT_JWT_SECRET",
    "DEVELOPMENT_REFRESH_TOKEN",
    "OPTIONS",
    "Secret",
    "Settings",
    "SettingsError",
    "database_url",
    "names_in_options",
]
