"""A group of commands whose modules are imported when one of them is used."""

import gc
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click


class LazyGroup(click.Group):
    """`lazy` has the names of subcommands, in the order of the help page, and where they are: 'module:function'."""

    def __init__(self, *arguments: Any, lazy: Mapping[str, str], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._lazy = lazy

    def list_commands(self, context: click.Context) -> list[str]:
        return [*super().list_commands(context), *self._lazy]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in self._lazy:
            return super().get_command(context, name)
        # Imports create no garbage. Without the collections, the command starts and ends faster by an eighth.
        gc.disable()
        module, _, function = self._lazy[name].partition(":")
        command = getattr(import_module(module), function)
        gc.freeze()
        gc.enable()
        assert isinstance(command, click.Command)
        return command
