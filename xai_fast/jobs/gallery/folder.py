"""The gallery as files: ``report/index.html`` and its data beside it, for any browser and no server."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from xai_fast.arguments import check_integer
from xai_fast.jobs.gallery.catalog import Catalog
from xai_fast.jobs.gallery.entries import Entries
from xai_fast.jobs.gallery.page import chunk_name, chunk_script, gallery_page, index_script, names_script
from xai_fast.jobs.gallery.pictures import Pictures
from xai_fast.jobs.gallery.span import chosen_items, rest_note
from xai_fast.jobs.observe import status
from xai_fast.jobs.spec import JobSpec
from xai_fast.jobs.store.folders import Folder, unique_name
from xai_fast.jobs.store.layout import Layout
from xai_fast.progress import Progress

__all__ = ["CHUNK", "LIMIT", "SIDE", "report"]

SIDE = 128
"""Of the small pictures, in pixels."""

CHUNK = 16
"""Items a file: a page of neighbours needs few files, and a page sorted by score does not read much in vain."""

LIMIT = 100_000
"""Items in a report, where nothing else is said."""


def report(
    out: str | os.PathLike[str],
    *,
    folder: str | os.PathLike[str] | None = None,
    first: int = 0,
    limit: int = LIMIT,
    side: int = SIDE,
    field: str | None = None,
    class_names: Sequence[str] = (),
    trust: bool = False,
) -> Path:
    """Write the gallery of a job; it may still be running, and then shows what is done.

    Args:
        out: folder of the store.
        folder: where to; by default ``report`` in the store. Files that are there are replaced.
        first: index of the first item that is shown.
        limit: items, at most a million.
        side: of the small pictures, in pixels.
        field: which maps are drawn; by default the first that are called "attributions".
        class_names: by the number of the class; by default those of the model, where it can be asked (see ``trust``).
        trust: call the functions that the store names (data set, decoder, model) to show the pictures as the model saw
            them; without, pictures and arrays are read from the files that it names.

    Returns:
        The page.

    Raises:
        StoreError: it is no store, or a damaged one.
        InputError: an option is out of range.
    """
    check_integer("side", side, 16, 1024)
    layout = Layout(out)
    catalog = Catalog(layout, field)
    span = chosen_items(len(catalog.items), first, limit)
    pictures = Pictures(JobSpec.from_dict(catalog.document["spec"]), catalog.items, trust=trust)
    entries = Entries(catalog, pictures, side)
    root = layout.root if folder is None else Path(folder)
    names_of_classes = class_names or pictures.class_names
    names = (layout.report.name,) if folder is None else ()
    with Folder(root, *names, "shards", create=True) as shards:
        _write(shards, "index.js", index_script(catalog, span, CHUNK, names_of_classes))
        _write(shards, "names.js", names_script(catalog, span))
        _write_chunks(shards, entries, span)
    # The page last: it is there when its data are.
    page = gallery_page(
        catalog,
        status(out),
        proportions=entries.proportions,
        warning=pictures.warning,
        note=" ".join(filter(None, [rest_note(span, len(catalog.items)), pictures.note])),
    )
    with Folder(root, *names) as here:
        _write(here, "index.html", page.encode("utf-8"))
    return root.joinpath(*names, "index.html")


def _write_chunks(shards: Folder, entries: Entries, span: range) -> None:
    def write(number: int) -> int:
        items = span[number * CHUNK : (number + 1) * CHUNK]
        script = chunk_script(number, [entries.entry(index) for index in items])
        _write(shards, f"{chunk_name(number)}.js", script)
        return len(items)

    with Progress(len(span), "drawing") as progress, ThreadPoolExecutor(os.cpu_count()) as threads:
        chunks = iter(range(-(-len(span) // CHUNK)))
        # A few ahead, so that memory does not grow with the number of items.
        ahead = deque(threads.submit(write, number) for number in islice(chunks, 4 * (os.cpu_count() or 1)))
        while ahead:
            progress.advance(ahead.popleft().result())
            ahead.extend(threads.submit(write, number) for number in islice(chunks, 1))


def _write(folder: Folder, name: str, data: bytes) -> None:
    """Replace a file; not forced to the disk as results are, since it can be made again."""
    temporary = f".tmp-{unique_name()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, 0o666, dir_fd=folder.fd), "wb") as file:
            file.write(data)
        os.rename(temporary, name, src_dir_fd=folder.fd, dst_dir_fd=folder.fd)
    except BaseException:
        folder.remove(temporary)
        raise
