"""Fine-tuning: train a model further on a file, and keep the best checkpoint.

It uses the trainer of `cutaway train` with another source of batches: steps, checkpoints, log and signals are the same.
Early stopping ends the run when the validation loss has not improved for `patience` evaluations.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cutaway.checkpoints import Checkpoint, Weights, open_source
from cutaway.checkpoints.adapter import AdaptedCheckpoint
from cutaway.disk import replacing_file
from cutaway.engines.protocol import check_causal
from cutaway.errors import UsageError
from cutaway.generation.batch import generate
from cutaway.generation.config import GenerationConfig
from cutaway.generation.config_json import generation_config_json, read_generation_config
from cutaway.generation.stream import collect
from cutaway.layout import counted
from cutaway.music.codec_file import read_codec_name
from cutaway.tasks import open_task
from cutaway.tokenizer.codec import Codec
from cutaway.training.agreement import check_alike
from cutaway.training.control_tokens import WidenedWeights, add_controls, missing_controls
from cutaway.training.copy_rate import N_GRAM, copy_rate
from cutaway.training.distributed import World, joined
from cutaway.training.finetune_config import FineTuneConfig
from cutaway.training.loop import Observer, Outcome, Silent, read_state, resume_or_begin, run_to_end
from cutaway.training.material import SAMPLES, Material, open_material
from cutaway.training.model import process_device
from cutaway.training.resumption import Difference, opened_run, refuse_differences, run_about
from cutaway.training.runs import RunDirectory, SavedCheckpoint
from cutaway.training.tuners import FineTuner, LoRATuner, base_name, make_tuner
from cutaway.untrusted import quote_name, read_object

BEFORE = "before.json"
AFTER = "after.json"
COPIES = 0.5  # copy rate from which a warning is printed
SAMPLE = GenerationConfig(max_new_tokens=96, temperature=0.8, top_p=0.95)

# Settings that may change when a run is resumed: they affect at most the rounding of the computation.
MAY_CHANGE = frozenset(
    {
        "model",
        "data",
        "valid",
        "tensorboard",
        "sample_prompt",
        "merge",
        "on_save_error",
        "strict",
        "threads",
        "device",
        "micro_batch_size",
    }
    | {"dtype", "activation_checkpointing"}
)


@dataclass(frozen=True)
class Result:
    """The result of a session: its outcome, and measurements before and after (None if a signal stopped the run)."""

    outcome: Outcome
    before: Mapping[str, Any]
    after: Mapping[str, Any] | None


def finetune(config: FineTuneConfig, directory: str | Path, observer: Observer | None = None) -> Result:
    """Fine-tune in a run directory until the end or a signal, resuming from its last checkpoint if it has one.

    Raises UsageError, before anything is written, for invalid settings or data, and RunError if the run fails. Under
    torchrun the processes train together with DDP; an error is printed here and ends each process with SystemExit.

    >>> from tempfile import TemporaryDirectory
    >>> from cutaway.checkpoints import ArrayWeights, save_checkpoint
    >>> from cutaway.config import GPT2Config
    >>> from cutaway.tokenizer.fast import Tokenizer
    >>> shape = GPT2Config(n_ctx=8, n_embd=2, n_head=1, n_layer=1)
    >>> ones = ArrayWeights(shape, {name: np.ones(s, np.float32) for name, s in shape.tensor_shapes().items()})
    >>> with TemporaryDirectory() as directory:
    ...     save_checkpoint(f"{directory}/tiny", ones, tokenizer=Tokenizer.gpt2())
    ...     data = Path(directory) / "robots.jsonl"
    ...     _ = data.write_text('{"text": "A robot must obey."}\\n{"text": "A robot must serve."}\\n')
    ...     config = FineTuneConfig(model=f"{directory}/tiny", data=str(data), valid="50%", max_steps=2, n_ctx=8)
    ...     result = finetune(config, f"{directory}/run")
    >>> result.outcome.steps, result.after["valid_loss"] < result.before["valid_loss"]
    (2, True)
    """
    with joined("ddp") as world:
        return _finetune(config, Path(directory), observer if observer and world.is_first else Silent(), world)


def _finetune(config: FineTuneConfig, directory: Path, observer: Observer, world: World) -> Result:
    device = process_device(config.device, config.threads, world)
    base = open_source(config.model)
    codec, weights = _starting_point(config, base, observer)
    n_ctx = config.training_config(base.config, 1.0).n_ctx
    material = open_material(config, codec, n_ctx)
    check_alike(config, [material.digest], directory, world, weights)
    check_causal(base.config, material.task is not None and material.task.attention == "prefix")
    trainer = make_tuner(config, weights, codec, material, device, world)
    check = partial(_check_resumable, config, material)
    with opened_run(directory, config, world, observer.note, check) as (run, saved):
        observer.note(material.summary)
        observer.note(trainer.summary())
        describe = partial(_describe, trainer, codec, material)
        before = _before(describe, directory / BEFORE, observer, world)
        resume_or_begin(trainer, saved, run, observer)
        observer.start(trainer, material.bytes_per_token)
        outcome = run_to_end(trainer, run, observer, partial(_finish, trainer, base, run))
        if outcome.signal is not None:
            return Result(outcome, before, None)
        if trainer.is_out_of_patience:
            evaluations = counted(config.patience, "evaluation")
            observer.note(
                f"ended at step {outcome.steps}: {evaluations} in a row not better than the best (--patience)"
            )
        observer.note("measuring the loss and generating samples after the last step")
        after = {**describe(), "step": trainer.best[0] if trainer.best else trainer.steps}
        if run is not None:
            _write_json(directory / AFTER, after)
        if (after["copy_rate"] or 0) >= COPIES:
            observer.note(
                f"warning: {after['copy_rate']:.0%} of the 8-grams of the samples occur in the training text: "
                "the model has memorised it; unless that is intended, train for fewer epochs, or on more text"
            )
        return Result(outcome, before, after)


def _starting_point(config: FineTuneConfig, base: Checkpoint, observer: Observer) -> tuple[Codec, Weights]:
    """Return the tokenizer and weights of the base model, extended with the control tokens that the task needs.

    Raises UsageError if the model is not a text model, if an adapter would be trained on an adapter, or if new control
    tokens would not be trained.
    """
    if isinstance(base, AdaptedCheckpoint) and config.method == "lora" and not config.merge:
        raise UsageError(f"{config.model} is an adapter, and an adapter of it could not be loaded: give --merge too")
    codec = base.codec()
    if codec is None:
        raise UsageError(f"{config.model} has no tokenizer files: put them beside its weights")
    task = open_task(config.task) if config.task else None
    if not isinstance(codec, Codec):
        wanted = f"the task {task.name} is encoded by {task.codec}" if task else "the data are text"
        other = f"the codec of {config.model} is {read_codec_name(base.path)}"
        raise UsageError(f"{wanted}, and {other}: fine-tune a model of text")
    names = missing_controls(task, codec) if task else []
    if not names:
        return codec, base
    if config.method != "full":
        raise UsageError(
            f"{config.model} has no control tokens {', '.join(names)}, which the task {config.task} needs: with "
            f"--method {config.method} their embeddings would not be trained; use --method full"
        )
    widened = add_controls(codec, names, max(codec.n_vocab, base.config.n_vocab))
    observer.note(f"control tokens are added to the model: {', '.join(names)}")
    return widened, WidenedWeights(base, widened.n_vocab, config.seed)


def _check_resumable(config: FineTuneConfig, material: Material, saved: SavedCheckpoint) -> None:
    about = run_about(saved, "finetune")
    begun = about["finetune"]
    others = [] if about.get("digest") == material.digest else ["on other data"]
    if base_name(str(begun.get("model"))) != base_name(config.model):
        others.append(f"from the model {quote_name(str(begun.get('model')))}")
    changed = Difference.between(begun, config.to_document(), without=MAY_CHANGE)
    refuse_differences(
        saved, changed, others, "use another --out; --model RUN/model begins there with this run's model"
    )


def _before(describe: Callable[[], dict[str, Any]], path: Path, observer: Observer, world: World) -> Mapping[str, Any]:
    """Describe the model before the first step; a resumed run reads the stored description."""
    if not world.broadcast(path.exists()):
        observer.note("measuring the loss and generating samples before the first step")
        found = describe()
        if world.is_first:
            _write_json(path, found)
        return found
    return read_object(path) if world.is_first else {}


def _write_json(path: Path, document: Mapping[str, object]) -> None:
    with replacing_file(path) as file:
        file.write((json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())


def _describe(trainer: FineTuner, codec: Codec, material: Material) -> dict[str, Any]:
    """Measure the model now: validation loss, and, in process 0 only, samples with their copy rate."""
    found = trainer.measure()
    if not trainer.world.is_first:
        return {**found, "copy_rate": None, "samples": []}
    engine = trainer.sampler()
    prompts = [material.prompts[i % len(material.prompts)] for i in range(SAMPLES)]
    seeds = range(SAMPLES)
    chunks = generate(engine, codec, [p.ids for p in prompts], SAMPLE, seeds, [p.n_prefix for p in prompts])
    completions = collect(chunks, seeds, engine.name)
    texts = [text for text in material.texts if len(text) >= N_GRAM]  # shorter texts have no 8-gram
    rates = [rate for c in completions if texts and (rate := copy_rate(c.ids, texts)) is not None]
    pairs = zip(prompts, completions, strict=True)
    samples = [{"prompt": prompt.text, "text": c.text, "finish_reason": c.finish_reason} for prompt, c in pairs]
    return {**found, "copy_rate": float(np.mean(rates)) if rates else None, "samples": samples}


def _finish(trainer: FineTuner, base: Checkpoint, run: RunDirectory | None) -> Path | None:
    """Write the best weights to RUN/model, as a model or an adapter, replacing the result of an earlier session.
    Afterwards the trainer holds the best weights in all processes.
    """
    if trainer.best is not None and trainer.best[0] != trainer.steps:
        weights, arrays, _ = read_state(trainer, None if run is None else run.checkpoint(trainer.best[0]))
        trainer.read(weights, arrays)
    if run is None:
        trainer.give_weights()
        return None
    if isinstance(trainer, LoRATuner) and not trainer.settings.merge:
        return run.finish_adapter(trainer.adapter(), trainer.side_files)
    settings = generation_config_json(read_generation_config(base.path, base.config.n_vocab))
    return run.finish(trainer.weights(), trainer.codec, settings, trainer.side_files)
