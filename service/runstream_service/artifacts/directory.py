"""What a local directory needs and a bucket does not. All methods block, so call them in a thread."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import time
from pathlib import Path

from runstream_service.errors.core import InvalidField

# The library's name for a file that is being written; `check_path` refuses such names for others.
_UNFINISHED = re.compile(r".+#[0-9]+")


class Directory:
    """The root of a local store."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    @classmethod
    def make(cls, root: Path) -> Directory:
        """Creates the directory if it does not exist, and checks that files can be written. Raises OSError."""
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            return cls(root)

    @property
    def root(self) -> Path:
        """The root with all links resolved."""
        return self._root

    def check_inside(self, path: str) -> None:
        """Raises InvalidField if a link leads the path out of the root.

        A link could still be put there between this check and the use, but only by somebody who can write to the
        directory anyway.
        """
        if not self.is_inside(path):
            raise InvalidField("Invalid path: a link leads out of the artifact store", field="path")

    def is_inside(self, path: str) -> bool:
        """Whether the path is at or below the root after links are followed."""
        return Path(os.path.realpath(self._root / path)).is_relative_to(self._root)

    def without_escaping_links(self, paths: list[str]) -> set[str]:
        """The paths that do not lead out of the root through a link."""
        return {path for path in paths if not os.path.islink(self._root / path) or self.is_inside(path)}

    def delete(self, path: str) -> None:
        """Deletes a file, or a directory with everything below it. Of a link, it deletes only the link."""
        target = self._root / path
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)

    def delete_unfinished(self, *, older_than_s: float) -> int:
        """Deletes the unfinished files of killed uploads; returns their number. Younger ones are kept, since another
        replica may still be writing them."""
        before, count = time.time() - older_than_s, 0
        for directory, _, names in os.walk(self._root):
            for name in filter(_UNFINISHED.fullmatch, names):
                path = Path(directory, name)
                with contextlib.suppress(OSError):  # another replica has deleted it, or it belongs to somebody else
                    if path.lstat().st_mtime < before:
                        path.unlink()
                        count += 1
        return count

    def sync(self, path: str) -> None:
        """Returns when a file and its directory entry are on disk."""
        for target in (self._root / path, (self._root / path).parent):
            descriptor = os.open(target, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
