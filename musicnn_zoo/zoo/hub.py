"""Models on the Hugging Face Hub: ``hf://user/repository`` in, :func:`push_to_hub` out."""

from __future__ import annotations

import logging
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from musicnn_zoo.errors import ArgumentError, DownloadError, UploadError
from musicnn_zoo.networks.provenance import Provenance
from musicnn_zoo.zoo.downloads import LIBRARY, explained, fetch, hub_commit
from musicnn_zoo.zoo.folder import CONFIG, NEEDED, OPTIONAL, THRESHOLDS, save_pretrained
from musicnn_zoo.zoo.sources import HubFile

if TYPE_CHECKING:
    from musicnn_zoo.networks.models import TaggingModel

_log = logging.getLogger(__name__)

HUB_SCHEME = "hf://"
DEFAULT_REVISION = "main"

_PART = r"[A-Za-z0-9][A-Za-z0-9._\-]*"
_REPO = re.compile(rf"{_PART}/{_PART}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/\-]*")


def download_folder(reference: str) -> tuple[Path, str]:
    """Download the model folder that ``hf://user/repository[@revision]`` names.

    Returns
    -------
    folder : Path
        In the cache of ``huggingface_hub``, all files of one commit.
    origin : str
        The reference with that commit.

    Raises
    ------
    ArgumentError
        If it is no such reference.
    DownloadError
        If it cannot be downloaded; the message names repository, revision and remedy.
    WeightsError
        If a file is not the one that the Hub states.
    """
    repo, revision = parse_reference(reference)
    commit = hub_commit(repo, revision, CONFIG)
    paths = {name: fetch(HubFile(repo, commit, name)) for name in NEEDED}
    _fetch_if_there(HubFile(repo, commit, THRESHOLDS))
    return paths[CONFIG].parent, f"{HUB_SCHEME}{repo}@{commit}"


def _fetch_if_there(file: HubFile) -> None:
    """Download a file of a commit unless the repository lacks it, which is asked but once."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    cached = try_to_load_from_cache(file.repo, file.path, revision=file.revision)
    if cached is not None and not isinstance(cached, str):
        return
    try:
        fetch(file)
    except DownloadError as error:
        if not isinstance(error.__cause__, EntryNotFoundError):
            raise
        if isinstance(error.__cause__, LocalEntryNotFoundError):
            _log.warning("%s; going on without %s", error, file.path)


def parse_reference(reference: str) -> tuple[str, str]:
    """Split ``hf://user/repository[@revision]`` into repository and revision.

    Raises
    ------
    ArgumentError
        If it is not of that form.
    """
    repo, at, revision = reference.removeprefix(HUB_SCHEME).partition("@")
    if not at:
        revision = DEFAULT_REVISION
    if not _REPO.fullmatch(repo) or not _REVISION.fullmatch(revision) or ".." in reference:
        raise ArgumentError(
            f"a model on the Hugging Face Hub is {HUB_SCHEME}user/repository or "
            f"{HUB_SCHEME}user/repository@revision; received {reference!r}"
        )
    return repo, revision


def push_to_hub(
    model: TaggingModel | str | os.PathLike[str],
    repo: str,
    *,
    provenance: Provenance | None = None,
    private: bool = False,
    revision: str = DEFAULT_REVISION,
    message: str = "Upload by musicnn-zoo",
    token: str | None = None,
) -> str:
    """Upload a model to the Hugging Face Hub, so that ``load_model("hf://user/repository")`` works.

    The repository is made if it is not there. What is uploaded is what
    :func:`musicnn_zoo.save_pretrained` writes.

    Parameters
    ----------
    model : TaggingModel, or str or path
        A folder means the model in it, such as the output of :func:`musicnn_zoo.train_model`.
    repo : str
        ``"user/repository"``.
    provenance : Provenance, optional
        For the model card; by default what the model knows of itself.
    private : bool
        Whether a repository that is made is visible to its owner only.
    revision : str
        Branch to commit to.
    message : str
        Of the commit.
    token : str, optional
        With the right to write; by default ``HF_TOKEN`` or that of ``hf auth login``.

    Returns
    -------
    str
        ``hf://user/repository@commit``, which loads what was uploaded.

    Raises
    ------
    ArgumentError
        If ``repo`` is not of that form.
    UploadError
        If the Hub does not take it; the message names the repository and the remedy.
    """
    from huggingface_hub import HfApi

    from musicnn_zoo import __version__
    from musicnn_zoo.zoo.pretrained import find_pretrained

    given, (repo, _) = repo, parse_reference(repo)
    if "@" in given:
        raise ArgumentError(
            "a model is uploaded to a branch of 'user/repository', which revision= names; "
            f"received {given!r}"
        )
    if isinstance(model, str | os.PathLike):
        model = find_pretrained(model).load()
    api = HfApi(library_name=LIBRARY, library_version=__version__, token=token)
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder, provenance=provenance, repo=repo)
        with explained(f"{HUB_SCHEME}{repo}@{revision}", UploadError):
            api.create_repo(repo, private=private, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repo, folder_path=folder, revision=revision, commit_message=message,
                delete_patterns=list(OPTIONAL),
            )  # fmt: skip
    return f"{HUB_SCHEME}{repo}@{commit.oid}"
