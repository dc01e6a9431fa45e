"""Tasks from TOML: known keys only, and what cannot be is refused in one line."""

import pytest

from cutaway.errors import UsageError
from cutaway.tasks.sources import builtin_tasks, open_task
from cutaway.tasks.task import Task

SMALL = """
name = "small"
template = "<|{to}|>{ source}={target}<|endoftext|>"
target = "target"
[choices]
to = ["de", "fr"]
[truncation]
field = "source"
"""


def changed(old: str, new: str) -> str:
    assert old in SMALL
    return SMALL.replace(old, new)


def test_a_small_task() -> None:
    task = Task.parse(SMALL)
    assert task.sources == ("source",)
    assert task.controls == ("<|de|>", "<|fr|>", "<|endoftext|>")
    assert task.toml == SMALL
    assert (task.learn, task.attention, task.truncation.side) == ("completion", "causal", "right")
    assert task.decoding.max_new_tokens(10) == 256


@pytest.mark.parametrize("name", builtin_tasks())
def test_builtin_tasks_are_named_as_their_files(name: str) -> None:
    assert builtin_tasks()[name].name == name
    assert builtin_tasks()[name].description


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("name = ", "not TOML"),
        (changed("target =", "tarjet ="), "unknown key 'tarjet'; did you mean target?"),
        (changed('name = "small"', ""), "missing key 'name'"),
        ('name = "a"', "missing keys 'template', 'target', 'truncation'"),
        ('name = "a"\ntarget = "b"\n[truncation]\n', "missing keys 'template', 'truncation.field'"),
        ('name = "a"\n[truncation]\nfeld = "b"\n', "unknown key 'truncation.feld'; did you mean field?"),
        (changed('name = "small"', "name = 1"), "name: must be text, not 1"),
        (changed('to = ["de", "fr"]', "to = []"), "choices.to: must be a list of texts"),
        (changed('to = ["de", "fr"]', 'from = ["de"]'), "choices: must be of to, as in the template"),
        (changed('field = "source"', 'feld = "source"'), "unknown key 'truncation.feld'; did you mean field?"),
        (
            changed('field = "source"', 'field = "target"'),
            "truncation.field: 'target' is not a field before the target",
        ),
        (
            changed('field = "source"', 'field = "source"\ntarget_share = 2'),
            "truncation.target_share must be from 0.01 to 0.99",
        ),
        (changed('field = "source"', 'field = "source"\nside = "top"'), "truncation.side must be left or right"),
        (changed("[choices]", "truncation = 1\n[choices]").split("[trunc")[0], "truncation: must be a table, not 1"),
        (changed('target = "target"', 'target = "goal"'), "target: 'goal' is not a field of the template"),
        (changed("{ source}", "{target}"), "template: a field stands in it twice"),
        (changed("<|{to}|>{ source}={target}", "{target}{source}<|{to}|>"), "template: begins with its target"),
        (changed("[choices]", 'learn = "some"\n[choices]'), "learn must be completion or all, not 'some'"),
        (changed("[choices]", 'metrics = ["blue"]\n[choices]'), "metrics must be bleu or exact or rouge, not 'blue'"),
        (changed("[choices]", 'codec = "midi"\n[choices]'), "codec must be bpe, not 'midi'"),
        (changed("[choices]", 'learn = "all"\nattention = "prefix"\n[choices]'), 'attention "prefix" shows each token'),
        (SMALL + "[decoding]\nbeams = 0\n", "decoding.beams must be from 1 to 128, not 0"),
        (SMALL + '[decoding]\nbeams = "5"\n', "decoding.beams must be a whole number"),
        (SMALL + "[decoding]\nalpha = 11\n", "decoding.alpha must be from 0 to 10, not 11"),
        (SMALL + "[decoding]\ntop_p = 1.5\n", r"decoding.top_p must be above 0 and at most 1 \(off\), not 1.5"),
        (SMALL + "[decoding]\ntop_p = 0\n", "decoding.top_p must be above 0"),
        (SMALL + "[decoding]\nmax_new_extra = 0\n", "decoding.max_new_extra must be at least 1, not 0"),
        (SMALL + "[decoding]\ntemperature = -1\n", "decoding.temperature must be from 0 to 1e"),
    ],
)
def test_invalid_tasks_are_refused_in_one_line(toml: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        Task.parse(toml)
    assert "\n" not in str(caught.value)


def test_languages_are_those_that_differ() -> None:
    toml = open_task("translation").toml
    assert Task.parse(toml.replace('from = ["en", "de"]', 'from = ["en"]')).languages == [{"from": "en", "to": "de"}]
    same = toml.replace('from = ["en", "de"]', 'from = ["en"]').replace('to = ["en", "de"]', 'to = ["en"]')
    assert Task.parse(same).languages == []
