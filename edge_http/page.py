"""The studio's page: the files that `web/` was built into, with what browsers must know about them.

Every address that isn't a file is the page's own to interpret, so that a link to any place in it works.
"""

from pathlib import Path
from typing import Final

from fastapi import Request, Response
from fastapi.responses import FileResponse

# `connect-src` and `img-src`: calls, pictures and uploads go to the page's own host, and where the object store is
# another, to that too. React sets styles by properties, which `style-src 'self'` allows; nothing needs inline code.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; manifest-src 'self'; "
    "img-src 'self' blob: {images}; connect-src 'self' {objects}; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
_ASSETS: Final = "assets"
# The page of the API's documentation; its styles hold their icons.
_DOCS: Final = "docs.html"
_FOREVER: Final = "public, max-age=31536000, immutable"
_EACH_TIME: Final = "no-cache"


class Page:
    """The built page in a folder."""

    def __init__(self, folder: Path, objects_origin: str = "") -> None:
        """Takes the origin of the object store's addresses, where that isn't the page's own."""
        self._folder = folder.resolve()
        self._policy = _POLICY.format(objects=objects_origin, images=objects_origin)
        self._docs_policy = _POLICY.format(objects=objects_origin, images="data:")

    async def answer(self, request: Request) -> Response:
        """Returns the file that an address names, or the page itself."""
        file = self._file(request.path_params["path"]) or self._folder / "index.html"
        # Files below assets/ have their content's hash in their names.
        is_asset = file.parent == self._folder / _ASSETS
        headers = {
            **_HEADERS,
            "content-security-policy": self._docs_policy if file.name == _DOCS else self._policy,
            "cache-control": _FOREVER if is_asset else _EACH_TIME,
        }
        return FileResponse(file, headers=headers)

    def has(self, path: str) -> bool:
        """Returns whether an address names a file of the page."""
        return self._file(path) is not None

    def _file(self, path: str) -> Path | None:
        """Returns the file that an address names: `docs` is docs.html, a page of its own."""
        for name in (path, f"{path}.html"):
            file = (self._folder / name).resolve()
            if file.is_relative_to(self._folder) and file.is_file():
                return file
        return None


def wants_page(request: Request) -> bool:
    """Returns whether a browser asks for a page to show, rather than a program for an answer."""
    return request.method in ("GET", "HEAD") and "text/html" in request.headers.get("accept", "")
