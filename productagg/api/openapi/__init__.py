"""The document at /openapi.json, made from what the services, validators and views declare."""
