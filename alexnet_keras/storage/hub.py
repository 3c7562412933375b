"""Repositories of models on Hugging Face's hub, at addresses as Keras writes them: `hf://USER/NAME`.

Files are in the layout that `keras.saving.load_model("hf://USER/NAME")` reads; a run has two more. Everything goes
through the library huggingface_hub (extra `hub`), with its cache, its token and its environment variables.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from alexnet_keras.errors import AlexNetError, UsageError
from alexnet_keras.storage.extras import optional

WEIGHTS = "model.weights.h5"
MODEL_FILES = ("config.json", "metadata.json", WEIGHTS)  # of a .keras archive
RUN_FILES = ("recipe.toml", "run.json")
SCHEME = re.compile(r"^hf:/{1,2}")  # in a Path, // is one
ADDRESS = re.compile(r"hf:/{1,2}(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
US = {"library_name": "alexnet-keras", "library_version": version("alexnet-keras")}


def is_address(place: Any) -> bool:
    """True of the text or the path of an address on the hub, also of one that `parts_of` refuses."""
    return str(place).lower().startswith("hf:")


def is_model(folder: Path) -> bool:
    """True of a directory with a model's files."""
    return folder.is_dir() and all((folder / name).is_file() for name in MODEL_FILES)


def written(address: str | Path) -> str:
    """Return an address as text, which a path has with one slash."""
    return SCHEME.sub("hf://", str(address), count=1)


def parts_of(address: str | Path) -> tuple[str, str | None]:
    """Return the repository, USER/NAME, and the revision, if any, of an address.

    Raises:
        UsageError: It has another form.
    """
    found = ADDRESS.fullmatch(str(address))
    if not found:
        raise UsageError(
            f"{written(address)} is no address of a model: hf://USER/NAME, or hf://USER/NAME@REVISION with a branch, a "
            "tag or a commit."
        )
    return found["repository"], found["revision"]


def fetch(address: str | Path) -> Path:
    """Download the files of a model or a run, unless the hub's cache has them.

    Returns:
        The directory in the cache, which belongs to huggingface_hub: nothing is written there.

    Raises:
        UsageError: There is no such repository or revision, or huggingface_hub is missing.
        AlexNetError: The hub cannot be reached, and the cache does not have it.
    """
    repository, revision = parts_of(address)
    hub = optional("huggingface_hub", "hub")
    with _in_a_sentence(address):
        files = [*MODEL_FILES, *RUN_FILES]
        return Path(hub.snapshot_download(repository, revision=revision, allow_patterns=files, **US))


def send(folder: Path, address: str | Path, *, private: bool = False) -> str:
    """Send the files of a directory as one commit to a repository, which is made if there is none.

    Args:
        folder: The directory.
        address: The address.
        private: Make the repository private.

    Returns:
        The commit's URL.

    Raises:
        UsageError: There is no token, or it may not write there; the repository is public and was to be private; or
            huggingface_hub is missing.
        AlexNetError: The hub cannot be reached or refuses.
    """
    repository, revision = parts_of(address)
    hub = optional("huggingface_hub", "hub")
    if hub.get_token() is None:
        raise UsageError("The hub takes models from those who have a token: `hf auth login`, or set HF_TOKEN.")
    api = hub.HfApi(**US)
    with _in_a_sentence(address):
        api.create_repo(repository, private=private or None, exist_ok=True)
        if private and not api.repo_info(repository).private:
            raise UsageError(f"{written(address)} exists and is public: choose another name, or publish it as public.")
        commit = api.upload_folder(
            repo_id=repository, folder_path=folder, revision=revision, commit_message="Publish a run of alexnet-keras"
        )
    return str(commit.commit_url)


@contextmanager
def _in_a_sentence(address: str | Path) -> Iterator[None]:
    """Raise what huggingface_hub raises as one sentence; what a full disk raises passes."""
    errors = optional("huggingface_hub.errors", "hub")
    try:
        yield
    except AlexNetError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
            raise
        refused = isinstance(error.__cause__, errors.HfHubHTTPError)  # and then the cache was looked into
        raise _ours(error.__cause__ if refused else error, errors, written(address)) from error


def _ours(error: Any, errors: Any, address: str) -> AlexNetError:
    """Return the error of ours that says what an error of huggingface_hub's means."""
    reason = next(iter(str(error).splitlines()), type(error).__name__)
    match error:
        case errors.GatedRepoError():
            return UsageError(f"{address} is for those whom its owner lets in: ask for access on its page.")
        case errors.RepositoryNotFoundError():
            return UsageError(f"There is no model {address}, or it is private and your token does not open it.")
        case errors.RevisionNotFoundError():
            return UsageError(f"{address}: the model has no such revision.")
        case errors.HFValidationError():
            return UsageError(f"{address} is no name that the hub allows: {reason}")
        case errors.HfHubHTTPError() if error.response is not None and error.response.status_code in (401, 403):
            return UsageError(f"{address}: the hub says that your token may not do this.")
        case errors.HfHubHTTPError():
            return AlexNetError(f"{address}: the hub refuses: {reason}")
        case _:
            return AlexNetError(f"{address}: the hub cannot be reached; is there a connection?")
