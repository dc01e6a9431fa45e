"""The command that uses a model, named by a run and by the wrong command."""

from shlex import quote

from cutaway.cli.terminal import safe


def command_of(source: str) -> str:
    """Return the command for a model, a name or a directory; music models and models of some tasks have their own.

    Raises CheckpointError if there is no valid checkpoint.

    >>> command_of("builtin"), command_of("builtin-translation")
    ('cutaway generate --model builtin', 'cutaway translate --model builtin-translation')
    >>> command_of("builtin-piano")
    'cutaway music generate --model builtin-piano -o piece.mid'
    """
    from cutaway.checkpoints import open_source  # which needs NumPy
    from cutaway.checkpoints.directory import TASK
    from cutaway.data.chat_forms import find_form
    from cutaway.music.codecs import codec_beside
    from cutaway.tasks import Task

    checkpoint = open_source(source)
    model = f"--model {quote(safe(source))}"
    if codec_beside(checkpoint.path) is not None:
        return f"cutaway music generate {model} -o piece.mid"
    toml = checkpoint.side_files().get(TASK)
    if toml is None:
        return f"cutaway {'generate' if find_form(checkpoint.chat_template().text) is None else 'chat'} {model}"
    task = Task.parse(toml)
    if task.translates:
        return f"cutaway translate {model}"
    if task.summarizes:
        return f"cutaway summarize {model}"
    return f"cutaway generate --task {task.name} {model}"
