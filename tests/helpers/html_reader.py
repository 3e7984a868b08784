"""Reading the HTML pages that reports are, for their tests."""

from __future__ import annotations

import base64
import hashlib
from html.parser import HTMLParser


class Reader(HTMLParser):
    """Collects elements and text as a browser would see them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.inside: dict[str, str] = {}
        self._raw = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._raw = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self._raw = ""

    def handle_data(self, data: str) -> None:
        if self._raw:
            self.inside[self._raw] = self.inside.get(self._raw, "") + data
        else:
            self.texts.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def policy(self) -> dict[str, str]:
        """The rules of the content security policy, by name."""
        policy = next(a["content"] for a in self.named("meta") if a.get("http-equiv") == "Content-Security-Policy")
        return dict(rule.strip().split(" ", 1) for rule in str(policy).split(";"))

    def hash_of(self, tag: str) -> str:
        """What the policy must say for the script or the style of the page."""
        digest = hashlib.sha256(self.inside[tag].encode()).digest()
        return f"'sha256-{base64.b64encode(digest).decode()}'"

    def outside_references(self) -> list[str]:
        """Addresses in attributes that lead out of the page."""
        names = ("src", "href", "action", "data", "poster")
        found = [str(attributes[name]) for _, attributes in self.tags for name in names if attributes.get(name)]
        return [address for address in found if not address.startswith(("data:", "#"))]
