"""A report on demand, for a browser on this machine: loopback only, read-only, nothing but its own pages."""

from __future__ import annotations

import functools
import secrets
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from xai_fast.arguments import check_integer
from xai_fast.errors import XaiFastError
from xai_fast.plot.page import DATA
from xai_fast.plot.report import Pages, pages_of

__all__ = ["View"]

_HOST = "127.0.0.1"
_HOSTS = ("127.0.0.1", "localhost", "[::1]")
_KEPT = 512
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class View:
    """A server for a report, as a context manager.

    It listens on 127.0.0.1 only and answers GET only. Other people on the machine, and other pages in the
    browser, do not know the path of its pages, which is drawn at random; a page that reached it under another name of
    this machine is refused. No file is read by a name that a request gives.

    Args:
        source: see `xai_fast.plot.report`.
        port: to listen on; 0 for any that is free.
        **options: see `xai_fast.plot.report`.

    Attributes:
        url: of the page.

    Raises:
        InputError: an option is out of range.
        OSError: the port is taken.
    """

    def __init__(self, source: Any, *, port: int = 0, **options: Any) -> None:
        check_integer("port", port, 0, 65535)
        if hasattr(source, "columns"):  # one item per script: of a page that is sorted, nothing is drawn in vain
            options |= {"chunk": 1, "large": True}
        root = f"/{secrets.token_urlsafe(16)}/"
        self._server = _Server(port, pages_of(source, **options), root)
        self.url = f"http://{_HOST}:{self._server.server_address[1]}{root}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="view", daemon=True)

    def __enter__(self) -> View:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def wait(self) -> None:
        """Serve until somebody interrupts."""
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, pages: Pages, root: str) -> None:
        self.root = root
        self._pages = pages
        self._script = functools.lru_cache(_KEPT)(pages.script)
        super().__init__((_HOST, port), _Handler)

    def content(self, path: str) -> tuple[str, bytes] | None:
        """Give media type and content of what is at a path below the root, or None."""
        if path == "":
            self._pages.refresh()
            self._script.cache_clear()
            return "text/html", self._pages.page()
        name = path.removeprefix(f"{DATA}/").removesuffix(".js")
        made = self._script(name) if path == f"{DATA}/{name}.js" else None
        return None if made is None else ("text/javascript", made)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what went wrong, unless the browser has turned the page meanwhile."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "xai_fast"
    sys_version = ""
    timeout = 30.0

    def do_GET(self) -> None:
        """Answer with a page."""
        code, kind, content = self._found()
        self.send_response(code)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: a request is no news."""

    def _found(self) -> tuple[HTTPStatus, str, bytes]:
        host = self.headers.get("Host") or ""
        name, _, port = host.rpartition(":")
        site = self.headers.get("Sec-Fetch-Site", "none")
        if (name if port.isdecimal() else host) not in _HOSTS or site not in ("none", "same-origin"):
            return HTTPStatus.FORBIDDEN, "text/plain", b"This server is for pages of this machine only.\n"
        root, path = self.server.root, urlsplit(self.path).path
        nothing = HTTPStatus.NOT_FOUND, "text/plain", b"There is nothing here.\n"
        if not secrets.compare_digest(path[: len(root)].encode(), root.encode()):
            return nothing
        try:
            found = self.server.content(path[len(root) :])
        except (XaiFastError, OSError) as error:
            return HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", f"{error}\n".encode("utf-8", "replace")
        return nothing if found is None else (HTTPStatus.OK, *found)
