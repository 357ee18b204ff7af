"""/openapi.json: the contract, made of what the views declare."""
