"""Timestamps, as predlog writes them and as a processor may have put them: `moment` reads them as times."""

from datetime import datetime, timezone

import pytest

from predlog.records.codec import moment

UTC = timezone.utc


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-01-02T03:04:05.678901Z", datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)),
        ("2026-01-02T05:04:05+02:00", datetime(2026, 1, 2, 3, 4, 5, 0, UTC)),
        ("2026-01-02 03:04:05", datetime(2026, 1, 2, 3, 4, 5, 0, UTC)),
        ("2026-01-02T03:04", datetime(2026, 1, 2, 3, 4, 0, 0, UTC)),
        ("2026-01-02", datetime(2026, 1, 2, 0, 0, 0, 0, UTC)),
        ("yesterday", None),
        ("", None),
    ],
)
def test_a_timestamp_is_read(text: str, at: datetime | None) -> None:
    """On every Python: dates alone and times without seconds too, UTC without a zone, and None for what is no time."""
    assert moment(text) == at
