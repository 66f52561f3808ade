"""The hub's client: the names of repositories, the extra it needs, and what its errors mean."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sunfish.config.rules import shown
from sunfish.utils import UsageError, first_line, how_to_install, stderr

if TYPE_CHECKING:
    from huggingface_hub import HfApi

# As the hub has them: letters, digits, - _ and ., none of - and . at an end, none twice.
NAME = re.compile(r"(?!.*(?:--|\.\.|\.git$))\w(?:[\w.-]*\w)?/\w(?:[\w.-]*\w)?", re.ASCII)
LONGEST_NAME = 96
STATUSES = {
    400: "refuses the request",
    401: "does not accept the token; set HF_TOKEN to a token that is valid",
    403: "does not permit this; set HF_TOKEN to a token that may do it (to push: one with write access)",
    413: "refuses files of this size",
    429: "has had too many requests; wait a few minutes and try again",
}


class Unreachable(ValueError):
    """The hub cannot be asked: there is no network, or it is not wanted."""


def check_name(repository: str) -> str:
    """The name of a repository, as the hub writes it.

    Raises:
        UsageError: It is no name of a user (or organization) and a model.
    """
    if len(repository) > LONGEST_NAME or not NAME.fullmatch(repository):
        raise UsageError(f"the repository is {shown(repository)}; name it as the hub does: USER/NAME")
    return repository


def require_hub() -> None:
    """Refuse to continue without the extra.

    Raises:
        ImportError: Says how to install it.
    """
    if importlib.util.find_spec("huggingface_hub") is None:
        raise ImportError(f"sharing models needs an extra: {how_to_install('hub')}")


def plain_progress() -> None:
    """Let the client draw its bars on a terminal only."""
    require_hub()
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not stderr.isatty():
        disable_progress_bars()


def client(token: str | bool | None = None) -> HfApi:
    """The hub at ``HF_ENDPOINT``, asked with ``token``, else with ``HF_TOKEN`` or that of ``hf auth login``.

    Raises:
        ImportError: The extra is missing; says how to install it.
    """
    require_hub()
    from huggingface_hub import HfApi

    return HfApi(token=token, library_name="sunfish")


@contextmanager
def hub_errors(repository: str, revision: str | None = None) -> Iterator[None]:
    """Turn what the client raises into one line with the repository, what is wrong, and the remedy.

    Raises:
        Unreachable: The hub does not answer.
        ValueError: It answers with an error, or with something that no hub answers.
        OSError: A file cannot be written here.
    """
    try:
        yield
    except Exception as why:
        if isinstance(why, OSError) and why.errno is not None:
            raise
        raise _explained(why, repository, revision) from why


def _explained(error: Exception, repository: str, revision: str | None) -> ValueError:
    from huggingface_hub import constants, errors

    hub = constants.ENDPOINT
    error = _first_cause(error)
    if isinstance(error, errors.GatedRepoError):
        return ValueError(
            f"{repository} is gated; accept its conditions at {hub}/{repository}, then set HF_TOKEN to a token "
            "of that account"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return ValueError(f"{repository} has no revision {shown(revision)}; give a branch, a tag or a commit")
    if isinstance(error, errors.RepositoryNotFoundError):
        return ValueError(
            f"{hub} shows no {repository}; check the name, or set HF_TOKEN if it is private or yours to make"
        )
    if isinstance(error, errors.EntryNotFoundError):
        return ValueError(f"{repository} has changed while it was read; try again")
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        reason = STATUSES.get(status, "fails; try again later" if status >= 500 else "refuses this")
        return ValueError(f"{repository}: {hub} {reason} (HTTP status {status})")
    if isinstance(error, errors.OfflineModeIsEnabled):
        return Unreachable("HF_HUB_OFFLINE is set; unset it to reach the hub")
    first = first_line(error)
    if isinstance(error, errors.HTTPError):  # type: ignore[attr-defined]
        return Unreachable(f"{hub} cannot be reached ({first}); check the network, or HF_ENDPOINT")
    if isinstance(error, OSError):
        return ValueError(f"a file of {repository} was not transferred whole ({first}); try again")
    return ValueError(
        f"{hub} answers as no hub does ({type(error).__name__}: {first}); check HF_ENDPOINT, or try again"
    )


def _first_cause(error: Exception) -> Exception:
    """What the hub, or the way to it, has said; the client wraps it in errors of its own, of any kind."""
    from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled  # type: ignore[attr-defined]

    kinds = (HTTPError, OfflineModeIsEnabled)  # the first is that of httpx, whichever version
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, kinds):
            return cause
        cause = cause.__cause__
    return error
