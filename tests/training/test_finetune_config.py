from typing import Any

import pytest

from cutaway.config import GPT2Config
from cutaway.errors import UsageError
from cutaway.training.finetune_config import FineTuneConfig

SHAPE = GPT2Config(n_ctx=64, n_embd=8, n_head=2, n_layer=2)


def test_steps_evaluations_and_warm_up_follow_from_the_epochs() -> None:
    training = FineTuneConfig(data="a.txt", epochs=2).training_config(SHAPE, 50.5)
    assert (training.max_steps, training.eval_every, training.warmup) == (101, 11, 10)
    tiny = FineTuneConfig(data="a.txt", epochs=1).training_config(SHAPE, 0.1)
    assert (tiny.max_steps, tiny.eval_every, tiny.warmup) == (1, 1, 1)
    given = FineTuneConfig(data="a.txt", max_steps=7, eval_every=3, warmup_steps=5).training_config(SHAPE, 50)
    assert (given.max_steps, given.eval_every, given.warmup) == (7, 3, 5)


@pytest.mark.parametrize("steps", [1, 2, 9, 10, 11, 19, 20, 21, 99, 199, 300, 1001])
def test_a_run_evaluates_ten_times_at_most(steps: int) -> None:
    every = FineTuneConfig(data="a.txt", max_steps=steps).training_config(SHAPE, 50).eval_every
    evaluations = steps // every + (steps % every > 0)  # the last step is one
    assert min(steps, 5) <= evaluations <= 10


@pytest.mark.parametrize(
    ("steps_per_evaluation", "every", "evaluations"),
    [(0.0, 3, 10), (3.0, 3, 10), (6.1, 7, 5), (16.0, 15, 2), (99.0, 15, 2)],
)
def test_evaluations_read_no_more_than_the_steps_of_a_short_run(
    steps_per_evaluation: float, every: int, evaluations: int
) -> None:
    config = FineTuneConfig(data="a.txt", max_steps=30)
    training = config.training_config(SHAPE, 50, steps_per_evaluation)
    assert (training.eval_every, training.save_every) == (every, every)
    assert 30 // every + (30 % every > 0) == evaluations
    given = FineTuneConfig(data="a.txt", max_steps=30, eval_every=5).training_config(SHAPE, 50, steps_per_evaluation)
    assert (given.eval_every, given.save_every) == (5, 5)


def test_the_shape_is_the_models_and_its_context_the_longest_sequence() -> None:
    training = FineTuneConfig(data="a.txt").training_config(SHAPE, 1)
    assert (training.n_layer, training.n_head, training.n_embd, training.n_ctx) == (2, 2, 8, 64)
    assert FineTuneConfig(data="a.txt", n_ctx=32).training_config(SHAPE, 1).n_ctx == 32
    with pytest.raises(UsageError, match="n_ctx .65. must be at most the context of the model, 64"):
        FineTuneConfig(data="a.txt", n_ctx=65).training_config(SHAPE, 1)


def test_each_method_has_its_own_rate() -> None:
    rates = [FineTuneConfig(data="a.txt", method=method).peak_lr for method in ("full", "last", "lora")]
    assert rates == [2e-4, 5e-4, 1e-3]
    assert FineTuneConfig(data="a.txt", from_scratch=True).peak_lr == 1e-3
    assert FineTuneConfig(data="a.txt", lr=0.5).training_config(SHAPE, 1).lr == 0.5


def test_the_optimizer_is_adamw_with_a_cosine_to_a_tenth() -> None:
    training = FineTuneConfig(data="a.txt").training_config(SHAPE, 1)
    assert (training.optimizer, training.beta1, training.beta2, training.weight_decay) == ("adamw", 0.9, 0.99, 0.01)
    assert (training.schedule, training.min_lr, training.average) == ("cosine", 0.1, 0.0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"data": ""}, "no data: give --data FILE"),
        ({"valid": "100%"}, "valid must be a share below 100%"),
        ({"valid": "five%"}, "valid must be a share below 100%, such as 5% or 0.05, or a file, not 'five%'"),
        ({"valid": "1"}, "valid must be a share below 100%, such as 5% or 0.05, or a file, not '1'"),
        ({"method": "qlora"}, "method must be full, last, lora, not 'qlora'"),
        ({"lora_r": 0}, "lora_r must be at least 1"),
        ({"lora_dropout": 1.0}, "lora_dropout must be below 1"),
        ({"lora_targets": ("c_attm",)}, "c_attm is not a matrix of a block; did you mean c_attn?"),
        ({"merge": True}, "merge needs the method lora: the others always write a whole model"),
        ({"lora_r": 4}, "lora_r needs the method lora: give --method lora too"),
        ({"lora_targets": ("c_attn",), "method": "last"}, "lora_targets needs the method lora"),
        ({"last_layers": 1, "method": "lora"}, "last_layers needs the method last"),
        ({"epochs": 0}, "epochs must be from 0.001"),
        ({"batch_size": 0}, "batch_size must be from 1 to 1048576"),
        ({"dtype": "float16"}, "dtype must be float32 or bfloat16"),
    ],
)
def test_invalid_settings_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        FineTuneConfig(**{"data": "a.txt"} | changed)


def test_what_is_no_share_is_a_file() -> None:
    given = ("5%", "0.05", "0%", "0", "2.5%", "v.txt")
    shares = {valid: FineTuneConfig(data="a.txt", valid=valid).valid_share for valid in given}
    assert shares == {"5%": 0.05, "0.05": 0.05, "0%": 0.0, "0": 0.0, "2.5%": 0.025, "v.txt": None}


def test_a_share_is_one_however_it_is_written() -> None:
    one, other = (FineTuneConfig(data="a.txt", valid=valid).to_document() for valid in ("7%", "0.07"))
    assert one == other
    assert one["valid"] == "7%"  # as runs and curves that exist have it


def test_the_last_pass_over_the_examples_is_whole() -> None:
    steps = [
        FineTuneConfig(data="a.txt", epochs=epochs).training_config(GPT2Config(), 3.2).max_steps for epochs in (1, 2, 5)
    ]
    assert steps == [4, 7, 16]
