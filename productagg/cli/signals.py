"""SIGTERM and Ctrl-C, for commands that clean up before they end."""

import signal
from typing import NoReturn

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(BaseException):
    """SIGTERM or Ctrl-C came. No `except Exception` catches it."""


class InterruptOnSignal:
    """Once this is created, a signal raises Interrupted at any point of the program."""

    def __init__(self) -> None:
        self._received = False
        for number in _SIGNALS:
            signal.signal(number, self._handle)

    def _handle(self, *_: object) -> NoReturn:
        self._received = True
        raise Interrupted

    def check(self) -> None:
        """Raise Interrupted if a signal came. Python drops an exception that is raised in a finalizer."""
        if self._received:
            raise Interrupted


def ignore_signals() -> None:
    """Ignore further signals, because the program is ending already."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
