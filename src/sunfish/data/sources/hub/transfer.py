"""Owns how bytes come from the hub: rate limits are waited out, cut connections resumed, wrong files refused.

The client's own retries stay below what a corpus needs: some requests have none, and none compares a file with
the listing. So every answer passes through here, and what still fails ends in one error that nobody retries.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from sunfish.data.sources.hub.answers import file_etag, seconds_of_limit, total_size
from sunfish.utils import first_line, format_duration, log

if TYPE_CHECKING:
    import httpx2 as httpx

TRIES = 5  # of a request that the hub or the network fails, and of a body that is cut
FIRST_PAUSE_SECONDS = 1.0  # doubled from try to try
RATE_LIMIT_WAITS = 20
FAILURES = (408, 500, 502, 503, 504)


class TransferError(Exception):
    """A transfer that has failed for good; its text is one line."""

    def __init__(self, text: str, is_unreachable: bool = False) -> None:
        """Say what has failed, and whether it is the way to the hub."""
        super().__init__(text)
        self.is_unreachable = is_unreachable


class FileRecord(NamedTuple):
    """What the listing of a commit says of one file."""

    size: int
    etag: str


class Transfers:
    """The requests for one data set, and what its listing says of the files."""

    def __init__(self, name: str, repository: str) -> None:
        """Nothing is asked yet.

        Args:
            name: Of the data set, for messages.
            repository: Whose requests these are; what the client asks besides is left to the client.
        """
        self.name, self.repository = name, repository
        self.files: dict[str, FileRecord] = {}  # by the end of the URL's path, COMMIT/PATH

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let the hub's client work this way until the end of the block.

        Only what is asked of the hub itself is tried again: `datasets` also tells another host of each download, which
        needs no answer.
        """
        from huggingface_hub import constants, set_client_factory
        from huggingface_hub.utils._http import default_client_factory

        def factory() -> httpx.Client:
            client = default_client_factory()
            send = client.send

            def patient(request: httpx.Request, *, stream: bool = False, **options: Any) -> httpx.Response:
                is_data = f"/datasets/{self.repository}/" in f"{request.url.path}/"
                if not is_data or not str(request.url).startswith(f"{constants.ENDPOINT}/"):
                    return send(request, stream=stream, **options)
                response = _Exchange(self, lambda r: send(r, stream=True, **options), request).answer()
                if not stream:
                    response.read()
                return response

            client.send = patient  # type: ignore[method-assign]
            return client

        set_client_factory(factory)
        try:
            yield
        finally:
            set_client_factory(default_client_factory)

    def wait(self, seconds: float) -> None:
        """Wait until a rate limit starts anew."""
        log(f"{self.name}: the hub has had too many requests; waiting {format_duration(seconds)}")
        time.sleep(seconds)

    def pause(self, reason: str, failures: int) -> None:
        """Wait before the next try, longer after each failure."""
        seconds = FIRST_PAUSE_SECONDS * 2 ** (failures - 1)
        log(f"{self.name}: {reason}; trying again in {seconds:.0f} s ({failures} of {TRIES - 1})")
        time.sleep(seconds)

    def check(self, response: httpx.Response, path: str) -> None:
        """Refuse a file with another size or content than the listing of its commit says.

        Raises:
            TransferError: The file at ``path`` of the URL is not the one that was listed.
        """
        name = path.partition("/resolve/")[2]
        record = self.files.get(name)
        if record is None or response.status_code not in (200, 206):
            return
        etag, size = file_etag(response), total_size(response)
        if etag in (None, record.etag) and size in (None, record.size):
            return
        response.close()
        sent = "other content" if size in (None, record.size) else f"{size:,} bytes"
        raise TransferError(
            f"{name.partition('/')[2]} has {sent} where the listing says {record.size:,} bytes: it was cut short "
            "or has changed; try again later"
        )


class _Exchange(NamedTuple):
    """One request until its answer is whole."""

    transfers: Transfers
    send: Callable[[httpx.Request], httpx.Response]
    request: httpx.Request

    def answer(self) -> httpx.Response:
        """The answer, its body resumed wherever it is cut."""
        response = self._patiently(self.request)
        self.transfers.check(response, unquote(self.request.url.path))
        sent: Any = response.stream
        response.stream = _stream(self._blocks(response, sent), sent)
        return response

    def _patiently(self, request: httpx.Request) -> httpx.Response:
        """The first answer that is neither a rate limit nor a failure.

        Raises:
            TransferError: There is none after all tries.
        """
        failures = waits = 0
        while True:
            try:
                response = self.send(request)
            except _httpx().TransportError as why:
                failures += 1
                reason = first_line(why)
                if failures == TRIES:
                    raise TransferError(
                        f"{request.url.scheme}://{request.url.netloc.decode()} cannot be reached ({reason}); check "
                        "the network, or HF_ENDPOINT",
                        is_unreachable=True,
                    ) from why
                self.transfers.pause(reason, failures)
                continue
            if response.status_code == 429:
                waits += 1
                response.close()
                if waits > RATE_LIMIT_WAITS:
                    raise TransferError(
                        f"the hub's rate limit did not end in {RATE_LIMIT_WAITS} waits; try again later"
                    )
                self.transfers.wait(seconds_of_limit(response))
            elif response.status_code in FAILURES:
                failures += 1
                response.close()
                reason = f"HTTP status {response.status_code}"
                if failures == TRIES:
                    raise TransferError(f"the hub fails; try again later ({reason})")
                self.transfers.pause(reason, failures)
            else:
                return response

    def _blocks(self, response: httpx.Response, stream: Any) -> Generator[bytes, None, None]:
        """The bytes of a body as they were sent, asked for again from where they are cut.

        Raises:
            TransferError: The body is cut at every try, or it is another one meanwhile.
        """
        received = skipped = cuts = 0
        while True:
            try:
                for block in stream:
                    kept = block[skipped:]
                    skipped -= len(block) - len(kept)
                    received += len(kept)
                    yield kept
                return
            except _httpx().TransportError as why:
                cuts += 1
                if cuts == TRIES:
                    raise TransferError(f"the connection was cut {TRIES} times; try again later") from why
                self.transfers.pause(first_line(why), cuts)
            finally:
                stream.close()
            again = self._patiently(self._rest(response, received))
            is_same = again.headers.get("ETag") == response.headers.get("ETag")
            if again.status_code not in (200, 206) or not is_same:
                raise TransferError(f"{self.request.url.path} has changed while it was read; try again later")
            skipped = received if again.status_code == 200 else 0
            stream = again.stream

    def _rest(self, response: httpx.Response, received: int) -> httpx.Request:
        """The request for what is missing of ``response`` after so many bytes."""
        headers = self.request.headers.copy()
        first, _, last = headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        if "Content-Encoding" not in response.headers:  # a range would count other bytes than those received
            headers["Range"] = f"bytes={int(first) + received}-{last}"
        content = self.request.content
        return type(self.request)(self.request.method, self.request.url, headers=headers, content=content)


def _httpx() -> Any:
    """The library under the hub's client."""
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    return httpx


def _stream(blocks: Generator[bytes, None, None], sent: httpx.SyncByteStream) -> httpx.SyncByteStream:
    """``blocks`` as a body in the place of ``sent``."""

    class Blocks(_httpx().SyncByteStream):  # type: ignore[misc]
        """The bytes as a client reads them."""

        def __iter__(self) -> Iterator[bytes]:
            return blocks

        def close(self) -> None:
            blocks.close()
            sent.close()  # which nobody may have begun to read

    return Blocks()
