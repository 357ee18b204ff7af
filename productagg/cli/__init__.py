"""The `productagg` command; every subcommand has its own module.

Only the module of the subcommand is imported: cron starts a command every minute, and imports take most of its time. No
subcommand imports a web framework.
"""

from typing import Any

import click

from productagg.cli.lazy import LazyGroup
from productagg.cli.output import guard_output

# The subcommands in the order of the help page, and the functions that implement them.
_COMMANDS = {
    "sync": "productagg.cli.sync:sync",
    "status": "productagg.cli.status:status",
    "import": "productagg.cli.import_products:import_",
    "export": "productagg.cli.export_products:export",
    "history": "productagg.cli.history:history",
    "repair-clock": "productagg.cli.repair_clock:repair_clock",
    "source": "productagg.cli.source:source",
    "user": "productagg.cli.user:user",
    "sample": "productagg.cli.sample:sample",
}


class _Main(LazyGroup):
    def main(self, *arguments: Any, **options: Any) -> Any:
        guard_output()
        return super().main(*arguments, **options)


@click.group(
    cls=_Main, lazy=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="productagg")
def main() -> None:
    """A product aggregator. CONFIG_URI is the ini file of the web service."""
