"""What stands inside a page: data that can't end its element, and a policy that allows its scripts and no more."""

import base64
import hashlib
import json
from collections.abc import Iterable
from typing import Any

_ESCAPED = {ord(character): f"\\u{ord(character):04x}" for character in "<>&"}


def json_text(value: Any) -> str:
    """Give a value as JSON for a `<script type="application/json">`: nothing in it ends the element or opens another.

    It is ASCII, so that no character of it is invisible, ends a line or turns the direction of the source.
    """
    return json.dumps(value, separators=(",", ":"), allow_nan=False).translate(_ESCAPED)


def policy(scripts: Iterable[str]) -> str:
    """Give a Content-Security-Policy under which these scripts run, and nothing else, and nothing is loaded.

    The plotting library puts `<style>` elements into the page, so styles may stand in it; with images from `data:`
    alone, none of them can load anything. Scripts can turn no text into markup: `trusted-types 'none'`.
    """
    hashes = " ".join(f"'sha256-{_hash(script)}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
