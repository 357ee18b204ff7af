"""Keeps the offers up to date: sync runs, leases, the schedule, and the records of what the runs did."""
