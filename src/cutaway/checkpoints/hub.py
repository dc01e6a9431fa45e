"""Models by name, through `huggingface_hub`: its cache, progress bars, tokens and variables (HF_HOME, HF_HUB_OFFLINE).

Only the files that we read are downloaded, not the pickles and TensorFlow files of the published repositories.
"""

from contextlib import suppress
from pathlib import Path

from cutaway.checkpoints.directory import CONFIG, GENERATION_CONFIG, INDEX, SIDE_FILES, WEIGHTS
from cutaway.errors import HubError
from cutaway.music.codec_file import CODEC
from cutaway.tokenizer.files import FILES

_FILES = [CONFIG, WEIGHTS, INDEX, "model-*.safetensors", GENERATION_CONFIG, CODEC, *SIDE_FILES, *FILES]


def check_hub() -> None:
    """Let `huggingface_hub` read its variables; raises HubError if one is invalid.

    >>> check_hub()
    """
    try:
        import huggingface_hub.constants  # noqa: F401  # reads them on import
    except ValueError as error:
        raise HubError(f"the hub's client cannot start: {_line(error)}; check the variables HF_*") from error


def fetch_published(name: str) -> Path:
    """Fetch one of OpenAI's models ("gpt2-xl") and return its directory. Raises HubError if that fails.

    The models have moved on the hub but never changed, so files cached under the old name are used.

    >>> from unittest.mock import patch
    >>> with patch("huggingface_hub.constants.HF_HUB_OFFLINE", True):
    ...     fetch_published("gpt2-xxl")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cutaway.errors.HubError: openai-community/gpt2-xxl is neither a directory here nor in the cache, ...
    """
    check_hub()
    from huggingface_hub import snapshot_download

    with suppress(OSError):  # not in the cache
        cached = Path(snapshot_download(name, allow_patterns=_FILES, local_files_only=True))
        if _is_complete(cached):
            return cached
    return fetch(f"openai-community/{name}")


def fetch(repository: str) -> Path:
    """Fetch the newest version of a model and return its directory. Without network, return the cached version.

    Raises HubError if there is no such model, if it is stored as pickles, or if there is neither network nor cache.

    >>> from unittest.mock import patch
    >>> with patch("huggingface_hub.constants.HF_HUB_OFFLINE", True):
    ...     fetch("nobody/nothing")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cutaway.errors.HubError: nobody/nothing is neither a directory here nor in the cache, and ...
    """
    check_hub()
    from huggingface_hub import snapshot_download

    try:
        directory = Path(snapshot_download(repository, allow_patterns=_FILES))
    except Exception as error:  # of huggingface_hub, an HTTP library or the system: all mean the same to the caller
        raise HubError(_explain(repository, error)) from error
    if not _is_complete(directory):
        raise HubError(f"{repository} has no {CONFIG} with safetensors weights on the hub; pickles are never fetched")
    return directory


def _is_complete(directory: Path) -> bool:
    return (directory / CONFIG).exists() and any((directory / name).exists() for name in (WEIGHTS, INDEX))


def _explain(repository: str, error: Exception) -> str:
    from huggingface_hub import errors

    match error:
        case errors.GatedRepoError():
            return f"{repository} is gated: accept its terms on the hub, then log in with `hf auth login`"
        case errors.RepositoryNotFoundError():
            return (
                f"{repository} is neither a directory here nor a model on the hub, or a private one: then log in with "
                "`hf auth login`"
            )
        case errors.LocalEntryNotFoundError(__cause__=errors.OfflineModeIsEnabled()):
            return (
                f"{repository} is neither a directory here nor in the cache, and HF_HUB_OFFLINE is set: unset it to "
                "fetch the model"
            )
        case errors.LocalEntryNotFoundError():
            reason = _line(error.__cause__ or error)
            return (
                f"{repository} is neither a directory here nor in the cache, and the hub cannot be reached: {reason}; "
                "check the network"
            )
    return f"{repository} cannot be fetched: {_line(error)}"


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]}..."
