"""The document at /openapi.json, made from the declarations of services, validators and views."""
