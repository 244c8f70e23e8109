"""The error of a service or command that cannot start. It is reported in one line that names the setting, never as a
traceback."""

from __future__ import annotations


class StartupError(Exception):
    """The service or command does not start.

    `setting`: the flag that is wrong; empty if it is none. `example`: a value that would work. `exit_code`: 2 for wrong
    settings, 1 for other failures.
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
