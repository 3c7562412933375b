"""Ctrl-C, SIGTERM and SIGHUP as requests to stop after the step under way, so that the state can be saved first."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

STOPPING = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]  # Windows has none


class StopSignals:
    """Inside `with StopSignals() as signals`, SIGINT, SIGTERM and SIGHUP set `signals.requested`; a second interrupts.

    A SIGHUP that is ignored, as under nohup, stays so. Outside the main thread, where Python delivers no signals, it
    never asks.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                if number is signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
