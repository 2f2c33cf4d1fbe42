"""One file over HTTP, so that a transfer that broke off goes on where it was.

What has arrived lies in ``NAME.part``; beside it ``NAME.part.json`` says of which version of the
file it is a part (its ETag or date), so that two versions are never glued together.
"""

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

from brainuad.manifest import file_errors, write_json
from brainuad.types import DataError, UnavailableError

if TYPE_CHECKING:
    import requests

CHUNK = 2**16
"""Bytes that are written at once; so many may be lost when a connection breaks."""
TRIES = 5
"""So many times in a row without a new byte, and the transfer is given up."""
TIMEOUT = (20, 60)
"""Seconds until a server answers, and between two pieces of a file."""
PIECE, PAST_THE_END = 206, 416
"""Status codes of answers to a request for a range of bytes."""
HINTS = {
    401: "needs a login",
    403: "is refused; some publishers block some networks, and some want a registration",
    404: "is not there any more",
    410: "is not there any more",
    429: "is refused for now, too many requests; try again later",
}

Watch = Callable[[int, int | None], None]
"""Called with the bytes that have arrived and, where it is known, the size."""


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """A file on the way."""

    part: Path
    """Where the bytes are gathered; kept when the transfer breaks off."""
    page: str
    """The publisher's page, named in errors."""
    size: int | None = None
    """Bytes that the file must have, where that is known."""
    watch: Watch = lambda done, total: None
    wait: Callable[[float], None] = time.sleep
    """Called with seconds to wait before the next try."""

    def bring(self, url: str, goal: Path) -> None:
        """Fetch all of the file and put it at ``goal``, over what may stand there.

        Raises:
            UnavailableError: no connection, or the server does not give the file.
            DataError: the file has another size than it should have.
        """
        failures = 0
        while True:
            before = self.arrived()
            try:
                self.go_on(url)
                break
            except OSError as error:  # what requests raises, too
                self.check_passing(error, url)
                failures = 0 if self.arrived() > before else failures + 1
                if failures >= TRIES:
                    raise self.broken(error, url) from error
                self.wait(2.0**failures)
        with file_errors(goal):
            self.part.replace(goal)
            self.mark.unlink(missing_ok=True)

    @property
    def mark(self) -> Path:
        """The note that says of which version of the file the part is."""
        return self.part.with_name(self.part.name + ".json")

    def arrived(self) -> int:
        """Bytes that are here already."""
        return self.part.stat().st_size if self.part.exists() else 0

    def go_on(self, url: str) -> None:
        """Fetch what is missing, in one connection."""
        import requests

        known = self.version(url)
        start = self.arrived() if known else 0
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers |= {"Range": f"bytes={start}-", "If-Range": known}
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            if start and answer.status_code == PAST_THE_END:
                if answer.headers.get("Content-Range") == f"bytes */{start}":
                    return  # the last run ended just before it could say so
                self.forget()
                raise ConnectionError("the file has changed")
            answer.raise_for_status()
            resumed = answer.status_code == PIECE
            start = start if resumed else 0
            total = whole_size(answer, start)
            self.check_size(total, url)
            write_json(self.mark, {"address": url, "version": version_of(answer.headers)})
            with file_errors(self.part), self.part.open("r+b" if resumed else "wb") as file:
                file.truncate(start)
                file.seek(start)
                self.receive(answer, file, total)
        if total is not None and self.arrived() < total:
            raise ConnectionError(f"ended after {self.arrived()} of {total} bytes")
        self.check_size(self.arrived(), url)

    def receive(self, answer: "requests.Response", file: IO[bytes], total: int | None) -> None:
        """Write the pieces as they come."""
        self.watch(file.tell(), total)
        for piece in answer.iter_content(CHUNK):
            file.write(piece)
            self.watch(file.tell(), total)

    def version(self, url: str) -> str:
        """ETag or date of what has arrived; empty when it cannot be gone on with."""
        try:
            known = dict(json.loads(self.mark.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return ""
        return str(known.get("version", "")) if known.get("address") == url else ""

    def forget(self) -> None:
        """Drop what has arrived."""
        self.part.unlink(missing_ok=True)
        self.mark.unlink(missing_ok=True)

    def check_size(self, size: int | None, url: str) -> None:
        """Refuse a file of another size, before it is fetched where the server says its size."""
        if size is not None and self.size is not None and size != self.size:
            self.forget()
            raise DataError(
                f"{url}: has {size} bytes, expected {self.size}; the publisher may have changed "
                f"it, see {self.page}"
            )

    def check_passing(self, error: OSError, url: str) -> None:
        """Raise the errors that do not pass by waiting."""
        import requests

        answer = getattr(error, "response", None)
        if isinstance(error, requests.HTTPError) and answer is not None:
            code = answer.status_code
            if code < 500:
                hint = HINTS.get(code, "is not given")
                raise UnavailableError(f"{url}: {hint} (HTTP {code}); see {self.page}") from error
        elif not isinstance(error, (requests.RequestException, ConnectionError)):
            raise error  # of the disk; says by itself what to do

    def broken(self, error: OSError, url: str) -> UnavailableError:
        """What to say when it was tried often enough."""
        return UnavailableError(
            f"{url}: no connection to {urlsplit(url).hostname} that lasts ({reason(error)}); "
            "check the network, then give the same command: it goes on where it was"
        )


def reason(error: BaseException) -> str:
    """The innermost cause, in few words."""
    text = str(error)
    plain = re.search(r"\[Errno -?\d+\] ([^'\")]+)", text)
    return plain[1] if plain else text[:150]


def version_of(headers: Mapping[str, str]) -> str:
    """What If-Range takes: a strong ETag, else the date; empty where there is neither."""
    tag = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")


def whole_size(answer: "requests.Response", start: int) -> int | None:
    """Bytes of the whole file, as the server says it.

    Raises:
        ConnectionError: the server sends another piece than the one that was asked for.
    """
    length = answer.headers.get("Content-Length", "")
    if answer.status_code == PIECE:
        said = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if not said or int(said[1]) != start:
            raise ConnectionError("the server sent another piece than asked for")
        length = said[2]
    # The length of what a server compressed on the way says nothing about the file.
    encoded = answer.headers.get("Content-Encoding", "identity") != "identity"
    return int(length) if length.isdecimal() and not encoded else None
