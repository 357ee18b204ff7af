"""Where offers come from: one package per kind of source. It speaks HTTP and knows no database."""
