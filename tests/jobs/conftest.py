"""What several tests of long jobs share."""

from __future__ import annotations

from browser import browser as browser  # a fixture, for the tests here
