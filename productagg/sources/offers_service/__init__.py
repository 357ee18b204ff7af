"""The Offers service, the source of every product's offers: `client` asks, `parsing` reads, `errors` names failures.

All processes share one access token: see `productagg.sync.tokens`.
"""
