"""`generation_config.json` as transformers writes it."""

import json
from pathlib import Path

import pytest
import transformers

from cutaway.errors import CheckpointError
from cutaway.generation.config import GenerationConfig
from cutaway.generation.config_json import generation_config_json, read_generation_config


def read(directory: Path, text: str) -> GenerationConfig:
    (directory / "generation_config.json").write_text(text)
    return read_generation_config(directory, n_vocab=50257)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", {}),
        ('{"_from_model_config": true, "bos_token_id": 5, "eos_token_id": 6}', {"bos_token_id": 5, "eos_token_id": 6}),
        ('{"eos_token_id": [6, 7]}', {"eos_token_id": [6, 7]}),
        ('{"eos_token_id": [6, 50257], "bos_token_id": 50257}', {"eos_token_id": [6]}),
        ('{"eos_token_id": 50257}', {}),
        ('{"do_sample": false, "temperature": 0.7}', {"temperature": 0}),
        ('{"do_sample": true, "temperature": 0.7}', {"temperature": 0.7}),
        ('{"do_sample": null, "top_k": null}', {}),
        (
            '{"top_k": 50, "top_p": 0.9, "repetition_penalty": 1.2}',
            {"top_k": 50, "top_p": 0.9, "repetition_penalty": 1.2},
        ),
        ('{"max_new_tokens": 7, "max_length": 20}', {"max_new_tokens": 7}),
        ('{"stop_strings": "END"}', {"stop": "END"}),
        ('{"stop_strings": ["a", "b"], "num_beams": 4}', {"stop": ["a", "b"]}),
    ],
)
def test_known_keys_are_read_and_others_ignored(tmp_path: Path, text: str, expected: dict[str, object]) -> None:
    assert read(tmp_path, text) == GenerationConfig().replace(**expected)


def test_reads_what_transformers_writes(tmp_path: Path) -> None:
    transformers.GenerationConfig(do_sample=True, top_k=7, eos_token_id=[3, 4]).save_pretrained(tmp_path)
    assert read_generation_config(tmp_path, 50257) == GenerationConfig(top_k=7, eos_token_id=[3, 4])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[]", "must be a JSON object"),
        ('{"top_k": "40"}', "top_k must be a whole number"),
        ('{"temperature": -1}', "temperature must be from 0"),
        ('{"do_sample": 1}', "do_sample must be true or false"),
        ('{"eos_token_id": "6"}', "eos_token_id must be a token id"),
        ('{"eos_token_id": [6.0]}', "eos_token_id must be a token id"),
        ('{"bos_token_id": true}', "bos_token_id must be a token id"),
        ('{"stop_strings": [1]}', "stop must be non-empty strings"),
        ('{"top_p": NaN}', "not valid JSON"),
    ],
)
def test_rejects_malformed_files_in_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(CheckpointError, match=complaint) as caught:
        read(tmp_path, text)
    assert "generation_config.json: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "config",
    [
        GenerationConfig(),
        GenerationConfig(temperature=0, top_k=3, stop="END"),
        GenerationConfig(temperature=0.5, top_p=0.9, repetition_penalty=1.2, max_new_tokens=7, stop=("a", "b")),
        GenerationConfig(eos_token_id=(6, 7), bos_token_id=5),
    ],
)
def test_round_trip(tmp_path: Path, config: GenerationConfig) -> None:
    assert read(tmp_path, json.dumps(generation_config_json(config))) == config
