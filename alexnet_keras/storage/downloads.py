"""Downloads of large files: bounded, verified, and continued where a connection broke.

What has arrived of FILE is FILE.part, and FILE.part.json says what the server called it. Both outlive an error and the
process: the next download asks for the rest alone (HTTP Range and If-Range). A server that knows no ranges, or has
another file by now, sends the whole again. The file appears by rename when its contents are verified. Proxies are
those of the environment: http_proxy, https_proxy, no_proxy."""

import errno
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from alexnet_keras.errors import AlexNetError, DataError
from alexnet_keras.reporter import SILENT, Reporter
from alexnet_keras.storage.documents import read_json, write_json
from alexnet_keras.storage.file_kinds import text_kind
from alexnet_keras.storage.files import replace
from alexnet_keras.storage.locks import locked

CHUNK = 2**20  # bytes, read at a time at most
HEAD = 512  # bytes, by which a text is told from weights
MEGABYTE = 10**6
TIMEOUT_S = 30.0  # of a server that sends nothing
WAITS_S = (1.0, 2.0, 4.0)  # before a broken connection is made again; from the first again once a chunk has come
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(frozen=True)
class Download:
    """A file to fetch.

    Attributes:
        address: Its URL.
        path: Its path here.
        problem_of: Returns what is wrong with a file's contents; None of the right ones.
        length: Its length in bytes; None if it is not known.
        most: The number of bytes that are accepted at most.
        remedy: The sentence that says what to do where it cannot be fetched.
    """

    address: str
    path: Path
    problem_of: Callable[[Path], str | None]
    length: int | None
    most: int
    remedy: str

    @property
    def part(self) -> Path:
        """The file with what has arrived."""
        return self.path.with_name(f"{self.path.name}.part")

    @property
    def about_part(self) -> Path:
        """The document of what the server said of it."""
        return self.path.with_name(f"{self.path.name}.part.json")

    def discard(self) -> None:
        """Remove what has arrived."""
        self.part.unlink(missing_ok=True)
        self.about_part.unlink(missing_ok=True)


class ConnectionBroke(Exception):
    """A server was not reached, or its answer ended before the file did.

    Attributes:
        received: The number of bytes that came.
    """

    def __init__(self, reason: object, received: int = 0) -> None:
        super().__init__(str(getattr(reason, "strerror", None) or reason or type(reason).__name__).rstrip("."))
        self.received = received


def download(file: Download, reporter: Reporter = SILENT) -> None:
    """Fetch a file, unless it is there already; of two processes the second waits for the first and finds it.

    Args:
        file: The file.
        reporter: Gets the progress in megabytes.

    Raises:
        AlexNetError: The server cannot be reached, refuses, or hangs up again and again; or the directory has no space
            or cannot be written. What has arrived is kept.
        DataError: The server sent something else.
    """
    waiting = f"Waiting for another process, which downloads {file.path.name}."
    with _writing(file):
        file.path.parent.mkdir(parents=True, exist_ok=True)
        lock = file.path.with_name(f".{file.path.name}.lock")
        with locked(lock, None, on_wait=lambda: reporter.note(waiting)):
            if file.path.is_file() and file.problem_of(file.path) is None:
                return
            _receive_all(file, reporter)
            if problem := file.problem_of(file.part):
                file.discard()
                raise DataError(f"{file.address} sent another file than the published one: {problem}. {file.remedy}")
            with file.part.open("rb") as whole:
                os.fsync(whole.fileno())
            replace(file.part, file.path)
            file.discard()


@contextmanager
def _writing(file: Download) -> Iterator[None]:
    """Raise the errors of a directory that is full or cannot be written as sentences."""
    folder = file.path.parent
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise AlexNetError(
                f"There is no space in {folder} for {file.path.name}: free some and run this again, which continues."
            ) from error
        raise AlexNetError(f"{folder} cannot be written ({error.strerror}). {file.remedy}") from error


def _receive_all(file: Download, reporter: Reporter) -> None:
    """Receive what is missing of a file, over more than one connection if they break."""
    tries = 0
    while True:
        try:
            return _receive(file, reporter)
        except ConnectionBroke as error:
            if not tries and not error.received:
                raise AlexNetError(f"{file.address} cannot be downloaded: {error}. {file.remedy}") from error
            tries = 1 if error.received >= CHUNK else tries + 1
            if tries > len(WAITS_S):
                raise AlexNetError(
                    f"The connection to {file.address} breaks again and again ({error}): {file.part} is kept, and "
                    "running this again continues it."
                ) from error
            time.sleep(WAITS_S[tries - 1])


def _receive(file: Download, reporter: Reporter) -> None:
    """Receive what is missing of a file, over one connection.

    Raises:
        ConnectionBroke: There was no connection, or it ended before the file did.
    """
    about = _about_part(file)
    have = file.part.stat().st_size if about else 0
    if have and have == (about["bytes"] or file.length):
        return
    with _answer(file, about, have) as answer:
        start, length = _range_of(answer)
        if start and (start != have or len({length, about["bytes"]} - {None}) > 1):
            file.discard()
            raise ConnectionBroke("the server answers with another range than the one asked for", have)
        chunks = _chunks(answer)
        head = _joined(chunks, HEAD)
        if head and not start and (kind := text_kind(head)):
            described = kind.description.rpartition(": ")[0]
            raise DataError(f"{file.address} was answered, perhaps by a proxy, with {described}. {file.remedy}")
        if length is not None and (length > file.most or length != (file.length or length)):
            raise DataError(f"{file.address} has {length:,} bytes, unlike the published file. {file.remedy}")
        if not start:
            file.part.write_bytes(b"")
            write_json(file.about_part, {"address": file.address, "validator": _validator(answer), "bytes": length})
        end = length or file.length
        position = _append(file, chain([head], chunks), start, end, reporter)
        if end is not None and position < end:
            raise ConnectionBroke("it ended too early", position - start)


def _append(file: Download, chunks: Iterable[bytes], position: int, end: int | None, reporter: Reporter) -> int:
    """Append chunks to the part, which ends at `position`, until there are more than may be; return where it ends."""
    done = position // MEGABYTE
    total = end and end // MEGABYTE
    with reporter.progress("downloading", total, "MB", done=done) as advance, file.part.open("ab") as part:
        for chunk in chunks:
            part.write(chunk)
            position += len(chunk)
            if position > file.most:
                break
            advance(position // MEGABYTE - done)
            done = position // MEGABYTE
    return position


def _answer(file: Download, about: dict[str, Any], have: int) -> http.client.HTTPResponse:
    """Ask for a file from the byte `have` on."""
    headers = {"User-Agent": "alexnet-keras", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        headers |= {"If-Range": about["validator"]} if about["validator"] else {}
    opener = urllib.request.build_opener()  # urlopen's keeps the proxies of its first use
    try:
        return opener.open(urllib.request.Request(file.address, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if have and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # the file is shorter by now
            file.discard()
            return _answer(file, {}, 0)
        reason = f"the server answers {error.code} {error.reason}".rstrip()
        raise AlexNetError(f"{file.address} cannot be downloaded: {reason}. {file.remedy}") from error
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionBroke(getattr(error, "reason", error)) from error


def _chunks(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield an answer's bytes as they come."""
    received = 0
    try:
        while chunk := answer.read1(CHUNK):
            received += len(chunk)
            yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionBroke(error, received) from error


def _joined(chunks: Iterator[bytes], least: int) -> bytes:
    """The first chunks, joined: at least so many bytes where there are as many."""
    joined = b""
    while len(joined) < least and (chunk := next(chunks, b"")):
        joined += chunk
    return joined


def _about_part(file: Download) -> dict[str, Any]:
    """What the server said of the part; {} if there is none that can be continued."""
    try:
        about = read_json(file.about_part)
        same = about["address"] == file.address and file.part.is_file() and (about["validator"] or about["bytes"])
        return about if same else {}
    except (DataError, KeyError):
        return {}


def _range_of(answer: http.client.HTTPResponse) -> tuple[int, int | None]:
    """The first byte of an answer, and the length of the whole file if the server says it."""
    if answer.status == http.HTTPStatus.PARTIAL_CONTENT:
        found = CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if not found:
            raise ConnectionBroke("the server does not say which range it sends")
        return int(found[1]), None if found[2] == "*" else int(found[2])
    length = answer.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _validator(answer: http.client.HTTPResponse) -> str | None:
    """What tells this version of a file from others, for If-Range: a strong ETag, or the date of the last change."""
    tag = answer.headers.get("ETag", "")
    return tag if tag.startswith('"') else answer.headers.get("Last-Modified")
