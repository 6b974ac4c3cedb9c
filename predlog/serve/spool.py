"""Bytes on their way to a browser, kept in a file without a name: those who read slowly take no memory."""

import os
import tempfile
from collections.abc import AsyncIterator

_CHUNK = 1 << 16


class Spool:
    """Bytes that may be read by any number of readers, at their own pace; and the headers that they are sent with."""

    def __init__(self, content: bytes, headers: dict[str, str]) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as this
        self._file.write(content)
        self._file.flush()
        self.size = len(content)
        self.headers = {"content-length": str(self.size), **headers}

    def __del__(self) -> None:
        """Close the file, which has no name any more, when the last reader is done."""
        if hasattr(self, "_file"):
            self._file.close()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield all of it; whoever takes it waits for the reader before the next piece is read."""
        for start in range(0, self.size, _CHUNK):
            yield os.pread(self._file.fileno(), _CHUNK, start)
