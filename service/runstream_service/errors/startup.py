"""The error for a service that cannot start: reported in one line that names the setting, never as a traceback."""

from __future__ import annotations


class StartupError(Exception):
    """The service refuses to start.

    `setting` is the flag that is wrong (empty if there is none), `example` a value that would work. `exit_code` is 2
    for bad configuration and 1 for failures at run time.
    """

    def __init__(self, message: str, *, setting: str = "", example: str = "", exit_code: int = 2) -> None:
        super().__init__(message)
        self.message = message
        self.setting = setting
        self.example = example
        self.exit_code = exit_code

    def __str__(self) -> str:
        if not self.setting:
            return self.message
        variable = "RUNSTREAM_" + self.setting.removeprefix("--").replace("-", "_").upper()
        hint = f"; for example: {self.setting} {self.example}" if self.example else ""
        return f"{self.setting} ({variable}): {self.message}{hint}"
