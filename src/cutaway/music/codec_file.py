"""The file `codec.json`, which marks a directory's ids as music and names their codec."""

import json
from pathlib import Path

from cutaway.disk import replacing_file
from cutaway.untrusted import quote, raise_checkpoint_error, read_object

CODEC = "codec.json"


def write_codec(name: str, directory: Path) -> None:
    """Write `codec.json`, atomically replacing an existing one. Raises OSError if that fails.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     write_codec("perf388", Path(directory))
    ...     read_codec_name(Path(directory))
    'perf388'
    """
    with replacing_file(directory / CODEC) as file:
        file.write((json.dumps({"codec": name}) + "\n").encode())


def read_codec_name(directory: Path) -> str | None:
    """Return the name in `codec.json`; None if there is no such file. Raises CheckpointError if it is malformed.

    >>> read_codec_name(Path("no such directory"))
    """
    path = directory / CODEC
    if not path.exists():
        return None
    name = read_object(path).get("codec")
    if not isinstance(name, str):
        raise_checkpoint_error(path, f"codec must be a name, not {quote(name)}")
    return name
