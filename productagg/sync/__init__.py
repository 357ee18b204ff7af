"""Keeps the offers up to date: passes, leases, schedule, and what became of them."""
