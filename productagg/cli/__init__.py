"""The `productagg` command: a pass for cron, its state, price histories, users, products.

A module per command, imported when it is called: cron starts one every minute, and most of that time is imports.
"""

import gc
from importlib import import_module
from typing import Any

import click

from productagg.cli.output import guard_output

# Each command's name, in the order of the help page, and where it is.
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
        # Nothing that an import makes is garbage: not looking for any saves an eighth of the start, and of the end.
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
    """A product aggregator. CONFIG_URI is the ini file that the web service is started with."""
