"""Manifest of a saved checkpoint: size and SHA-256 of every file, so that corruption is detected before use.

It is written last. It holds its own SHA-256 and has exactly one valid encoding, so a flipped bit in it is detected too.
"""

import hashlib
import json
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cutaway.disk import hash_files
from cutaway.untrusted import parse_object, quote, quote_name, raise_checkpoint_error, read_bytes

NAME = "manifest.json"
FORMAT = "cutaway-checkpoint/1"


def write_manifest(directory: Path, step: int) -> None:
    """Write the manifest of the files in a directory. Raises OSError.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     _ = Path(directory, "state.json").write_text("{}")
    ...     write_manifest(Path(directory), step=100)
    ...     manifest = json.loads(Path(directory, "manifest.json").read_text())
    >>> manifest["step"], manifest["files"]["state.json"]["bytes"]
    (100, 2)
    """
    paths = sorted(directory.iterdir())
    files = {path.name: {"bytes": path.stat().st_size, "sha256": hash_files([path])} for path in paths}
    body = {"format": FORMAT, "step": step, "files": files, "environment": fingerprint()}
    (directory / NAME).write_bytes(_encode(body))


def check_manifest(directory: Path, step: int) -> dict[str, object]:
    """Check every byte of a saved checkpoint and return its manifest.

    Raises CheckpointError, naming the first file that is missing, unlisted or damaged, or if the step is not `step`.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     _ = Path(directory, "state.json").write_text("{}")
    ...     write_manifest(Path(directory), step=100)
    ...     manifest = check_manifest(Path(directory), step=100)
    >>> list(manifest["files"])
    ['state.json']
    """
    path = directory / NAME
    data = read_bytes(path)
    manifest = parse_object(data, path)
    body = {key: value for key, value in manifest.items() if key != "sha256"}
    if data != _encode(body):
        raise_checkpoint_error(path, "is damaged: its SHA-256 does not match its text")
    if manifest.get("format") != FORMAT:
        raise_checkpoint_error(path, f"has the format {quote(manifest.get('format'))}; this version reads {FORMAT}")
    if manifest.get("step") != step:
        raise_checkpoint_error(path, f"is of step {quote(manifest.get('step'))}, not {step}")
    files = manifest.get("files")
    assert isinstance(files, dict)  # guaranteed by its SHA-256
    try:
        _check_files(directory, files)
    except OSError as error:
        raise_checkpoint_error(directory, f"cannot be read: {error.strerror}")
    return manifest


def _check_files(directory: Path, files: Mapping[str, Mapping[str, object]]) -> None:
    names = {path.name for path in directory.iterdir() if not path.name.startswith(".")} - {NAME}
    for name in sorted(names ^ files.keys()):
        reason = "is missing" if name in files else f"is not listed in {NAME}"
        raise_checkpoint_error(directory / quote_name(name), reason)
    for name, kept in files.items():
        path = directory / name
        if (n_bytes := path.stat().st_size) != kept["bytes"]:
            raise_checkpoint_error(path, f"is damaged: {n_bytes} bytes long, not {kept['bytes']}")
        if hash_files([path]) != kept["sha256"]:
            raise_checkpoint_error(path, "is damaged: its SHA-256 differs from that of the saved file")


def _encode(body: Mapping[str, object]) -> bytes:
    """Return the one valid encoding of a manifest."""
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return (json.dumps({**body, "sha256": digest}, indent=2, sort_keys=True) + "\n").encode()


@cache
def fingerprint() -> dict[str, str]:
    """Return what determines the rounding of a computation: versions, machine and processor.

    >>> sorted(fingerprint())
    ['cutaway', 'machine', 'numpy', 'processor', 'python', 'torch']
    """
    return {
        **{name: _version(name) for name in ("cutaway", "numpy", "torch")},
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": _processor(),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
