"""SIGTERM and Ctrl-C, for commands that clean up before they end."""

import signal
from collections.abc import Callable
from typing import NoReturn


class Interrupted(BaseException):
    """SIGTERM or Ctrl-C came. No `except Exception` catches it."""


class InterruptOnSignal:
    """Once this is created, a signal raises Interrupted at any point of the program."""

    def __init__(self) -> None:
        self._received = False
        on_signal(self._handle)

    def _handle(self, *_: object) -> NoReturn:
        self._received = True
        raise Interrupted

    def check(self) -> None:
        """Raise Interrupted if a signal came. Python drops an exception that is raised in a finalizer."""
        if self._received:
            raise Interrupted


def on_signal(act: Callable[..., object] | signal.Handlers) -> None:
    """Call `act`, with the signal's number and the frame, whenever a signal comes."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, act)


def ignore_signals() -> None:
    """Ignore further signals, because the program is ending already."""
    on_signal(signal.SIG_IGN)
