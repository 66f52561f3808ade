"""Upload: the files of a repository as one commit."""

from __future__ import annotations

from pathlib import Path

from sunfish.hub import check_name, client, hub_errors
from sunfish.sharing.repository import FILES


def upload(
    folder: Path,
    repository: str,
    *,
    private: bool = False,
    revision: str | None = None,
    token: str | None = None,
) -> str:
    """Make the repository if there is none, and commit the model in ``folder``: all of it or nothing.

    Files of an earlier model that this one lacks are deleted; others, such as pictures, stay.

    Args:
        folder: As :func:`sunfish.sampling.hub_pipeline.write_model` leaves it.
        repository: ``USER/NAME``.
        private: Whether only its owner may see it.
        revision: A branch, made if there is none; None: the main one.
        token: See :func:`sunfish.hub.client`.

    Returns:
        The address of the commit.

    Raises:
        ValueError: The hub refuses; or the repository is public, but ``private`` is asked for.
    """
    check_name(repository)
    api = client(token)
    with hub_errors(repository, revision):
        api.create_repo(repository, private=private or None, exist_ok=True)
        public = private and not api.model_info(repository).private
    if public:
        raise ValueError(
            f"{repository} exists and is public; make it private in its settings, push to another name, or leave "
            "out --private"
        )
    names = [name for name in FILES if (folder / name).is_file()]
    with hub_errors(repository, revision):
        if revision is not None:
            api.create_branch(repository, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            revision=revision,
            commit_message="Upload a SunFish model",
            allow_patterns=names,
            delete_patterns=[name for name in FILES if name not in names],
        )
    return str(commit.commit_url)
