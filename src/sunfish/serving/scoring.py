"""How likely a given text is, token by token: what a page shades it by."""

from __future__ import annotations
