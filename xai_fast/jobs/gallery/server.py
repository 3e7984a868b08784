"""The gallery on demand, for a browser on this machine: loopback only, read-only, nothing but its own pages."""

from __future__ import annotations

import functools
import re
import secrets
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from xai_fast.arguments import check_integer
from xai_fast.errors import XaiFastError
from xai_fast.jobs.gallery.catalog import Catalog
from xai_fast.jobs.gallery.entries import Entries
from xai_fast.jobs.gallery.folder import SIDE
from xai_fast.jobs.gallery.page import chunk_name, chunk_script, gallery_page, index_script, names_script
from xai_fast.jobs.gallery.pictures import Pictures
from xai_fast.jobs.gallery.span import chosen_items, rest_note
from xai_fast.jobs.observe import status
from xai_fast.jobs.spec import JobSpec
from xai_fast.jobs.store.layout import Layout

__all__ = ["View"]

_HOST = "127.0.0.1"
_HOSTS = ("127.0.0.1", "localhost", "[::1]")
_KEPT = 1 << 26
_LARGE = 672
_SECONDS = 30.0
_SCRIPT = re.compile(r"shards/([0-9]{6,15})(-large)?\.js")


class _Site:
    """The pages of one job, made when they are asked for. Nothing is read by a name that a request gives.

    Args:
        layout: of the store.
        span: gives the indices of the items that are shown, by how many there are.
        side: of the pictures, in pixels.
        field: which maps are drawn.
        class_names: by the number of the class.
        trust: see `xai_fast.jobs.gallery.report`.
    """

    def __init__(
        self,
        layout: Layout,
        span: Callable[[int], range],
        *,
        side: int,
        field: str | None,
        class_names: Sequence[str],
        trust: bool,
    ) -> None:
        self._layout = layout
        self._catalog = Catalog(layout, field)
        self._span = span(len(self._catalog.items))
        spec = JobSpec.from_dict(self._catalog.document["spec"])
        self._pictures = Pictures(spec, self._catalog.items, trust=trust)
        self._entries = Entries(self._catalog, self._pictures, side)
        self._side = side
        self._class_names = class_names or self._pictures.class_names
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[int, bool], bytes] = OrderedDict()
        self._bytes = 0
        self._pages: dict[str, Callable[[], bytes]] = {
            "": self._page,
            "shards/index.js": self._index,
            "shards/names.js": lambda: names_script(self._catalog, self._span),
        }

    def content(self, path: str) -> tuple[str, bytes] | None:
        """Give what is at a path.

        Args:
            path: below the site's root.

        Returns:
            Media type and content, or None where there is nothing.
        """
        kind = "text/javascript" if path else "text/html"
        if path in self._pages:
            return kind, self._pages[path]()
        match = _SCRIPT.fullmatch(path)
        number = int(match[1]) if match else -1
        if match is None or number >= len(self._span) or match[1] != chunk_name(number):
            return None
        return kind, self._item(number, match[2] is not None)

    def _page(self) -> bytes:
        if self._catalog.refresh():
            with self._lock:
                self._kept.clear()  # what was to do is done
                self._bytes = 0
        page = gallery_page(
            self._catalog,
            status(self._layout.root),
            proportions=self._entries.proportions,
            warning=self._pictures.warning,
            note=" ".join(filter(None, [rest_note(self._span, len(self._catalog.items)), self._pictures.note])),
        )
        return page.encode("utf-8")

    def _index(self) -> bytes:
        # One item a script: of a page that is sorted by a number, nothing is drawn in vain.
        return index_script(self._catalog, self._span, 1, self._class_names, large=True)

    def _item(self, number: int, large: bool) -> bytes:
        with self._lock:
            kept = self._kept.get((number, large))
            if kept is not None:
                self._kept.move_to_end((number, large))
                return kept
        entry = self._entries.entry(self._span[number], max(_LARGE, self._side) if large else None)
        made = chunk_script(number, [entry], large=large)
        with self._lock:
            self._bytes += len(made) - len(self._kept.pop((number, large), b""))
            self._kept[number, large] = made
            while self._bytes > _KEPT:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return made


class View:
    """A server for the gallery of a job, as a context manager.

    It listens on 127.0.0.1 only and answers GET and HEAD only. Other people on the machine, and other pages in the
    browser, do not know the path of its pages, which is drawn at random; a page that reached it under another name of
    this machine is refused.

    Args:
        out: folder of the store.
        port: to listen on; 0 for any that is free.
        first: index of the first item that is shown.
        limit: items, at most a million; None for all, where there are no more than that.
        side: of the pictures, in pixels.
        field: which maps are drawn; by default the first that are called "attributions".
        class_names: by the number of the class.
        trust: call the functions that the store names, see `xai_fast.jobs.gallery.report`.

    Attributes:
        url: of the page.

    Raises:
        StoreError: it is no store, or a damaged one.
        InputError: an option is out of range.
        OSError: the port is taken.
    """

    def __init__(
        self,
        out: str,
        *,
        port: int = 0,
        first: int = 0,
        limit: int | None = None,
        side: int = SIDE,
        field: str | None = None,
        class_names: Sequence[str] = (),
        trust: bool = False,
    ) -> None:
        check_integer("port", port, 0, 65535)
        check_integer("side", side, 16, 1024)
        span = functools.partial(chosen_items, first=first, limit=limit)
        site = _Site(Layout(out), span, side=side, field=field, class_names=class_names, trust=trust)
        root = f"/{secrets.token_urlsafe(16)}/"
        self._server = _Server((_HOST, port), _Handler, site, root)
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

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], site: _Site, root: str) -> None:
        self.site = site
        self.root = root
        super().__init__(address, handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what went wrong, unless it is that the browser has turned the page meanwhile."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "xai_fast"
    sys_version = ""
    timeout = _SECONDS

    def do_GET(self) -> None:
        """Answer with a page."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """Answer with the head of a page."""
        self._answer(body=False)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: a request is no news."""

    def _answer(self, *, body: bool) -> None:
        code, kind, content = self._found()
        self.send_response(code)
        headers = {
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Length": str(len(content)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

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
            found = self.server.site.content(path[len(root) :])
        except (XaiFastError, OSError) as error:
            return HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", f"{error}\n".encode("utf-8", "replace")
        return nothing if found is None else (HTTPStatus.OK, *found)
