"""Where offers come from. Speaks HTTP, knows no database."""
