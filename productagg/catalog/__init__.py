"""Products: create, change, remove, list, search, import and export."""
