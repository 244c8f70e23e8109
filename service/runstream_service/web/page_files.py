"""The files of the page: HTML, CSS and ES modules, which are served without a build step."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import mimetypes
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

DIRECTORY = Path(__file__).parent / "page"
_INDEX = "index.html"
# Compressing smaller files saves less than the headers of a response take.
_MIN_COMPRESSED_BYTES = 1_024
_COMPRESSIBLE = ("text/", "image/svg+xml", "application/manifest+json")
# Static imports, which a browser loads together with the module that has them.
_IMPORT = re.compile(r"^(?:import|export)\b[^;]*?\bfrom '([^']+)'|^import '([^']+)'", re.MULTILINE)
_IMPORT_MAP = re.compile(r'<script type="importmap">(.*?)</script>', re.DOTALL)
_TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".webmanifest": "application/manifest+json",
    ".md": "text/plain",
    ".LICENSE": "text/plain",
}


@dataclass(frozen=True)
class PageFile:
    """A file of the page. It is compressed when a browser first requests it."""

    content: bytes
    media_type: str

    @cached_property
    def compressed(self) -> bytes | None:
        """The content compressed with gzip; None if that is not worth it."""
        if len(self.content) < _MIN_COMPRESSED_BYTES or not self.media_type.startswith(_COMPRESSIBLE):
            return None
        return gzip.compress(self.content, 9, mtime=0)


@dataclass(frozen=True)
class PageFiles:
    """All files by path, and a hash of all of them. The hash is part of their URLs, so browsers may cache them
    forever."""

    files: Mapping[str, PageFile]
    hash: str
    index: str

    @classmethod
    def read(cls, directory: Path = DIRECTORY) -> PageFiles:
        """Reads all files of a directory: less than a megabyte, once, when the service starts."""
        contents = {
            path.relative_to(directory).as_posix(): path.read_bytes()
            for path in sorted(directory.rglob("*"))
            if path.is_file()
        }
        digest = hashlib.sha256()
        for name, content in contents.items():
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
        index = contents.pop(_INDEX).decode()
        files = {name: PageFile(content, _media_type(name)) for name, content in contents.items()}
        return cls(files=files, hash=digest.hexdigest()[:16], index=index)

    def imported_by(self, *names: str) -> list[str]:
        """These modules and all modules that they import, for index.html: a browser then loads all of them together,
        and not level by level."""
        libraries = json.loads(_IMPORT_MAP.findall(self.index)[0])["imports"]
        found = list(names)
        for one in found:
            for match in _IMPORT.finditer(self.files[one].content.decode()):
                name = match[1] or match[2]
                library = str(libraries.get(name, "")).removeprefix("./{files}/")
                path = library or posixpath.normpath(posixpath.join(posixpath.dirname(one), name))
                if path not in found:
                    found.append(path)
        return found


def _media_type(name: str) -> str:
    suffix = Path(name).suffix
    return _TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"


def source_hash(script: str) -> str:
    """The hash of an inline script in the form of a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
