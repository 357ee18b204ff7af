"""`productagg source sync`: a run of one source. Apart, because it imports what speaks HTTP."""

import click

from productagg.cli.bootstrap import config_uri, writing
from productagg.cli.sync import chosen_sources, end, run


@click.command(short_help="Sync a source now, due or not.")
@config_uri
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
def sync(config_uri: str, name: str, as_json: bool) -> None:
    """Sync a source now: all of its products, or its document, due or not. Like `productagg sync --all --source NAME`.

    A source that wants no requests for a while is not asked; the summary says so. Exit codes: see `productagg sync`.
    """
    with writing(config_uri) as (settings, sessions):
        result = run(settings, sessions, everything=True, sources=chosen_sources(sessions, [name]))
    end(result, as_json=as_json)
