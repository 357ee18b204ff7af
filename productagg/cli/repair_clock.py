"""`productagg repair-clock`: run by hand, rarely, after the database's clock was ahead and was set back."""

import click

from productagg.cli.bootstrap import config_uri, writing
from productagg.sync import clock_repair


@click.command(name="repair-clock", short_help="Repair the times that a clock wrote while it was ahead.")
@config_uri
@click.option("--apply", is_flag=True, help="Make the changes, instead of only listing them.")
def repair_clock(config_uri: str, apply: bool) -> None:
    """Set the times that the database wrote in the future, while its clock was ahead, back to now.

    Products become due now, leases and waits end, and histories go on from now. Without --apply, the command lists the
    changes and makes none. Stop the sync runs first; the web service may keep running.

    Exit codes: 0 there is nothing to repair, or it is repaired; 1 there is something to repair; 2 the command could not
    run.
    """
    with writing(config_uri) as (settings, sessions), sessions() as session:
        repairs = clock_repair.repair(session, settings)
        if apply:
            session.commit()
    for repair in repairs:
        click.echo(f"repair-clock: {repair.rows} {repair.description}")
    if not repairs:
        click.echo("repair-clock: nothing lies in the future")
    elif not apply:
        click.echo("repair-clock: nothing was changed; use --apply to change it")
        raise SystemExit(1)
