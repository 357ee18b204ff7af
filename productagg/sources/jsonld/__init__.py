"""A shop's product page: schema.org in JSON-LD, else in microdata, else OpenGraph."""
