"""Trainers of a fine-tuning run, one per method: which parameters are trained, and when training ends."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cutaway.checkpoints import Weights
from cutaway.checkpoints.adapter import Adapter, MergedWeights
from cutaway.checkpoints.sources import BUILTIN_MODELS
from cutaway.engines.pytorch.model import GPT2
from cutaway.errors import UsageError
from cutaway.tokenizer.codec import Codec
from cutaway.training.config import TrainingConfig
from cutaway.training.distributed import ALONE, World
from cutaway.training.finetune_config import FineTuneConfig
from cutaway.training.lora import add_lora, lora_layers, read_lora
from cutaway.training.material import Material
from cutaway.training.model import make_model
from cutaway.training.trainer import Array, Trainer


class FineTuner(Trainer):
    """A trainer with early stopping: it ends when `patience` evaluations in a row have not improved on the best.

    `settings` are the settings of the run; `training` are the trainer's settings, derived from them.
    """

    def __init__(
        self,
        settings: FineTuneConfig,
        training: TrainingConfig,
        model: GPT2,
        codec: Codec,
        material: Material,
        world: World,
    ) -> None:
        n_frequent = settings.sampled_vocab // 2
        super().__init__(
            training,
            model,
            material.source,
            validation=material.validation(training.eval_tokens),
            codec=codec,
            side_files=material.side_files,
            prompt=material.prompts[0],
            frequent=material.frequent(model.config.n_vocab, n_frequent) if settings.sampled_vocab else None,
            about={"finetune": settings.to_document(), "digest": material.digest},
            world=world,
        )
        self.settings = settings

    @property
    def done(self) -> bool:
        """True if there are no more steps to take."""
        return super().done or self.is_out_of_patience

    @property
    def is_out_of_patience(self) -> bool:
        """True if `patience` evaluations in a row have not improved on the best."""
        waited = 0 if self.best is None else self.steps - self.best[0]
        return 0 < self.settings.patience * self.config.eval_every <= waited

    def flops(self, step: int) -> int:
        """Estimate the FLOPs of a step: batches are not full, and not all weights have gradients."""
        most = self.steps * self.config.batch_size * self.config.n_ctx
        return int(super().flops(step) * (self.tokens / most if most else 1) * self.work())

    def work(self) -> float:
        """Return the work as a share of training all weights; a third of it is the forward pass."""
        trained = sum(p.numel() for p in self.parameters.values()) / self.model.config.n_params
        return (1 + 2 * trained) / 3

    def read(self, weights: Weights, arrays: Mapping[str, Array]) -> None:
        """Load the weights of a checkpoint of the run, given its weights and arrays."""
        self.model.load(weights)

    def summary(self) -> str:
        """Summarise in a line what is trained."""
        count = sum(p.numel() for p in self.parameters.values())
        return f"{count:,} parameters are trained, of {self.model.config.n_params:,}"


class LoRATuner(FineTuner):
    """A LoRA trainer. Checkpoints hold the merged weights, and the adapter with the optimizer state.

    It adds LoRA to the model, whose weights are those of `base`.
    """

    def __init__(
        self,
        settings: FineTuneConfig,
        training: TrainingConfig,
        model: GPT2,
        codec: Codec,
        material: Material,
        world: World,
        base: Weights,
    ) -> None:
        add_lora(
            model,
            r=settings.lora_r,
            alpha=settings.lora_alpha,
            dropout=settings.lora_dropout,
            targets=settings.lora_targets,
            seed=settings.seed,
        )
        super().__init__(settings, training, model, codec, material, world)
        self.base = base

    def adapter(self) -> Adapter:
        """Return a copy of the learned adapter."""
        return read_lora(
            self.model,
            base=base_name(self.settings.model),
            r=self.settings.lora_r,
            alpha=self.settings.lora_alpha,
            dropout=self.settings.lora_dropout,
            targets=self.settings.lora_targets,
        )

    def work(self) -> float:
        return 2 / 3  # all activations have gradients, but hardly any weights

    def weights(self) -> Weights:
        return MergedWeights(self.base, self.adapter())

    def arrays(self) -> dict[str, Array]:
        pairs = self.adapter().pairs
        factors = {f"lora.{name}.{side}": a for name, p in pairs.items() for side, a in (("A", p.a), ("B", p.b))}
        return {**super().arrays(), **factors}

    def restore(self, weights: Weights, arrays: Mapping[str, Array], document: Mapping[str, object]) -> None:
        super().restore(self.base, arrays, document)
        self._take(arrays)

    def read(self, weights: Weights, arrays: Mapping[str, Array]) -> None:
        self._take(arrays)

    def summary(self) -> str:
        total = sum(spec.kind == "linear" for spec in self.model.config.tensors.values())
        return f"LoRA on {len(list(lora_layers(self.model)))} of {total} matrices: {super().summary()}"

    def _take(self, arrays: Mapping[str, Array]) -> None:
        with torch.no_grad():
            for name, layer in lora_layers(self.model):
                layer.lora_A.copy_(torch.from_numpy(np.array(arrays[f"lora.{name}.A"])))
                layer.lora_B.copy_(torch.from_numpy(np.array(arrays[f"lora.{name}.B"])))


def make_tuner(
    config: FineTuneConfig,
    base: Weights,
    codec: Codec,
    material: Material,
    device: torch.device,
    world: World = ALONE,
) -> FineTuner:
    """Make the model of a run, with the trained parameters marked, and its trainer.

    >>> from tempfile import TemporaryDirectory
    >>> from cutaway.checkpoints import open_source
    >>> from cutaway.tokenizer.fast import Tokenizer
    >>> from cutaway.training.material import open_material
    >>> base = open_source("builtin")
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(directory) / "robots.jsonl"
    ...     _ = path.write_text('{"text": "A robot must obey."}\\n{"text": "A robot must serve."}\\n')
    ...     config = FineTuneConfig(data=str(path), valid="50%", method="last", last_layers=1)
    ...     material = open_material(config, Tokenizer.gpt2(), n_ctx=16)
    >>> tuner = make_tuner(config, base, Tokenizer.gpt2(), material, torch.device("cpu"))
    >>> sorted({name.split(".")[1] for name in tuner.parameters if name.startswith("h.")})
    ['8']
    """
    steps_per_epoch = material.rows_per_epoch / config.batch_size
    steps_per_evaluation = material.rows_per_evaluation(config.eval_tokens) / config.batch_size
    training = config.training_config(base.config, steps_per_epoch, steps_per_evaluation)
    training = replace(training, sample_prompt=material.prompts[0].text)
    model = make_model(training, base.config, device, None if config.from_scratch else base)
    if config.method == "lora":
        return LoRATuner(config, training, model, codec, material, world, base)
    if config.method == "last":
        freeze_all_but_last(model, config.last_layers)
    return FineTuner(config, training, model, codec, material, world)


def freeze_all_but_last(model: GPT2, n_layers: int) -> None:
    """Freeze all but the last `n_layers` blocks and the final LayerNorm. Raises UsageError if there are fewer blocks.

    >>> from cutaway.config import GPT2Config
    >>> model = GPT2(GPT2Config(n_vocab=5, n_ctx=4, n_embd=2, n_head=1, n_layer=2))
    >>> freeze_all_but_last(model, 1)
    >>> sorted({name.rsplit(".", 1)[0] for name, p in model.named_parameters() if p.requires_grad})
    ['h.1.attn.c_attn', 'h.1.attn.c_proj', 'h.1.ln_1', 'h.1.ln_2', 'h.1.mlp.c_fc', 'h.1.mlp.c_proj', 'ln_f']
    """
    if n_layers > len(model.h):
        raise UsageError(f"--last-layers ({n_layers}) must be at most the blocks of the model, {len(model.h)}")
    model.requires_grad_(False)
    model.ln_f.requires_grad_(True)
    for block in model.h[-n_layers:]:
        block.requires_grad_(True)


def base_name(model: str) -> str:
    """Return the name of a base model; for a directory its absolute path.

    >>> base_name("builtin"), base_name("/")
    ('builtin', '/')
    """
    path = Path(model).expanduser()
    return str(path.resolve()) if model not in BUILTIN_MODELS and path.is_dir() else model
