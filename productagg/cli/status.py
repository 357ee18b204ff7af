"""`productagg status`: how the sync is doing, for people and, with --json, for machines. It only reads."""

import click
import orjson

from productagg.cli.bootstrap import config_uri, reading
from productagg.db import clock
from productagg.sync import status as sync_status
from productagg.sync.tokens import account_key


@click.command()
@config_uri
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for machines.")
def status(config_uri: str, as_json: bool) -> None:
    """Show how the sync is doing.

    Shows the last sync runs, each source, the backlog, the product that is due the longest, the failing products with
    their reasons, and the state of the access token for the Offers service. Changes nothing.
    """
    with reading(config_uri) as (settings, connection):
        account = account_key(settings.offers_base_url, settings.offers_refresh_token.reveal())
        state = sync_status.read(connection, account, clock.now(connection))
    click.echo(orjson.dumps(state, option=orjson.OPT_UTC_Z) if as_json else sync_status.as_text(state))
