"""`productagg repair-clock`: after the database's clock was ahead and was set back. By hand, and rarely."""

import click

from productagg.cli.bootstrap import config_uri, writing
from productagg.sync import clock_repair


@click.command(name="repair-clock", short_help="Repair what a clock that was ahead left behind.")
@config_uri
@click.option("--apply", is_flag=True, help="Do it, instead of saying what is to be done.")
def repair_clock(config_uri: str, apply: bool) -> None:
    """Bring back to now what the database wrote in the future, while its clock was ahead.

    Products are due now, leases and waits end, histories go on from now. Without --apply nothing is changed, and the
    command says what it would do. Stop the passes first; the web service may go on.

    Exit codes: 0 nothing is to be done, or it is done; 1 there is something to be done; 2 it could not run.
    """
    with writing(config_uri) as (settings, sessions), sessions() as session:
        found = clock_repair.repair(session, settings)
        if apply:
            session.commit()
        else:
            session.rollback()
    for each in found:
        click.echo(f"repair-clock: {each.rows} {each.how}")
    if not found:
        click.echo("repair-clock: nothing lies in the future")
    elif not apply:
        click.echo("repair-clock: nothing is changed; --apply does it")
        raise SystemExit(1)
