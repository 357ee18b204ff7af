"""Feeds: one document with the offers of many products. See adapter.py."""
