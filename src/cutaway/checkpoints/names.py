"""Names of the arrays in a checkpoint's files, with their dtypes and shapes."""

from cutaway.config import GPT2Config
from cutaway.formats import FLOAT32, Format, StoredAs
from cutaway.tensors import TensorSpec

PREFIX = "transformer."  # before every name except the head's, if a model was saved with its head


def stored_as(config: GPT2Config, wanted: Format) -> dict[str, dict[str, StoredAs]]:
    """Map each parameter to the arrays that store it in a format: dtype and shape by name, without prefix.

    >>> from cutaway.formats import FORMATS
    >>> list(stored_as(GPT2Config(), FORMATS["int8"])["wte.weight"])
    ['wte.weight', 'wte.weight.scales', 'wte.weight.input_scales']
    """
    return {
        spec.name: {spec.name + suffix: kind for suffix, kind in format_for(spec, wanted).layout(spec).items()}
        for spec in config.tensors.values()
    }


def format_for(spec: TensorSpec, wanted: Format) -> Format:
    """Return `wanted` if it can store the tensor, else float32.

    >>> from cutaway.formats import FORMATS
    >>> format_for(GPT2Config().tensors["ln_f.bias"], FORMATS["int8"]).name
    'float32'
    """
    return wanted if wanted.takes(spec) else FLOAT32


def with_prefix(name: str) -> str:
    """Return a tensor's name as transformers writes it.

    >>> with_prefix("wte.weight"), with_prefix("lm_head.weight")
    ('transformer.wte.weight', 'lm_head.weight')
    """
    return name if name.startswith("lm_head.") else PREFIX + name
