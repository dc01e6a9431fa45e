"""`cutaway train`: train a GPT-2 on prepared text, from scratch or from a model; the same command resumes."""

import signal
from argparse import ArgumentParser, Namespace
from pathlib import Path

from cutaway.cli.arguments import add_json, write_json
from cutaway.cli.model_command import command_of
from cutaway.cli.settings import add_settings, named_as_given, read_settings
from cutaway.cli.terminal import note, safe
from cutaway.cli.training_progress import TrainingProgress
from cutaway.errors import EngineError, UsageError
from cutaway.training.config import SCRATCH, TrainingConfig, read_toml

EXAMPLES = """\
examples:
  cutaway train --data shards --out run --max-steps 1000
  cutaway train small.toml --data books stories --weights 1 3 --out run
  cutaway train plot run

The same command on a run that exists resumes it. Ctrl-C saves and stops; a
second one stops immediately."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the files, and a flag for each setting."""
    parser.description = "Train a GPT-2 on text that `cutaway data prepare` has prepared."
    parser.usage = "cutaway train [CONFIG.toml] --data DIR... --out RUN [--SETTING VALUE]..."
    parser.epilog = EXAMPLES
    parser.add_argument("config", nargs="?", type=Path, metavar="CONFIG.toml", help="settings; flags take precedence")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="run directory; resumes if it exists")
    add_json(parser)
    add_settings(parser, TrainingConfig)


def read_config(options: Namespace) -> TrainingConfig:
    """Read the settings of the TOML file, if one is given, and of the flags, which take precedence."""
    flags = read_settings(options, TrainingConfig)
    for path in flags.get("data", ()):
        if path.endswith(".toml"):
            raise UsageError(f"{safe(path)} stands after --data: put the file of settings first, before the flags")
    file = {} if options.config is None else read_toml(options.config)
    shape = _shape((file | flags).get("init", SCRATCH))
    with named_as_given(TrainingConfig, options.config, file.keys() - flags.keys()):
        return TrainingConfig.from_document(shape | file | flags)


def _shape(init: object) -> dict[str, object]:
    """Return the settings that the initial model determines, if there is one."""
    if init == SCRATCH:
        return {}
    from cutaway.checkpoints import open_source

    config = open_source(str(init)).config
    return {name: getattr(config, name) for name in ("n_layer", "n_head", "n_embd", "n_ctx", "relative_positions")}


def run(options: Namespace) -> None:
    """Train, and report the result. After SIGINT the exit code is 130, after SIGTERM or SIGHUP 0: the run is saved."""
    config = read_config(options)
    try:
        from cutaway.training.distributed import is_first_process
        from cutaway.training.loop import Silent
        from cutaway.training.pretraining import train
    except ModuleNotFoundError as error:
        from cutaway.training.opening import open_beginning

        open_beginning(config)  # raises the error of a wrong argument before anything else
        raise EngineError("training needs PyTorch: pip install torch") from error
    outcome = train(config, options.out, Silent() if options.json else TrainingProgress())
    if not is_first_process():
        return
    if options.json:
        write_json({"run": str(options.out), "steps": outcome.steps, "model": outcome.model and str(outcome.model)})
    elif outcome.model is not None:
        print(f"{safe(str(outcome.model))}: step {outcome.steps}; {command_of(str(outcome.model))}")
    else:
        note(f"{options.out}: saved at step {outcome.steps}; the same command resumes")
    if outcome.signal is signal.SIGINT:
        raise KeyboardInterrupt
