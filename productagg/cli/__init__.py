"""The `productagg` command; every subcommand has its own module.

Only the module of the subcommand is imported: cron starts a command every minute, and imports take most of its time. No
subcommand imports a web framework.
"""

import gc
from importlib import import_module
from typing import Any

import click

from productagg.cli.output import guard_output

# The subcommands in the order of the help page, and the functions that implement them.
_COMMANDS = {
    "sync": "productagg.cli.sync:sync",
    "status": "productagg.cli.status:status",
    "import": "productagg.cli.import_products:import_",
    "export": "productagg.cli.export_products:export",
    "history": "productagg.cli.history:history",
    "repair-clock": "productagg.cli.repair_clock:repair_clock",
    "user": "productagg.cli.user:user",
    "sample": "productagg.cli.sample:sample",
}


class _Lazy(click.Group):
    def main(self, *arguments: Any, **options: Any) -> Any:
        guard_output()
        return super().main(*arguments, **options)

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        # Imports create no garbage. Without the collections, the command starts and ends faster by an eighth.
        gc.disable()
        module, _, function = _COMMANDS[name].partition(":")
        command: Any = getattr(import_module(module), function)
        gc.freeze()
        gc.enable()
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="productagg")
def main() -> None:
    """A product aggregator. CONFIG_URI is the ini file of the web service."""
