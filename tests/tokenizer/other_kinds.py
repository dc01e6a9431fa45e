"""Small tokenizers of other kinds than GPT-2's, trained on the spot, in the files that transformers reads them from."""

import json
import random
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

CHINESE = "从前有座山，山里有座庙，庙里有个老和尚。他说：“机器人必须服从命令！”这是很久之前的事情了。"
ENGLISH = (
    "A robot may not injure a human being, or let one come to harm. The robots' orders aren't ours; they're given."
)
GERMAN = "Zweites Gesetz: Ein Roboter muß gehorchen – außer größter Gefahr für Menschen. Œuvre, café, naïve, Ångström."
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def corpus() -> list[str]:
    return [
        CHINESE,
        ENGLISH,
        GERMAN,
        ENGLISH.lower(),
        "1 2 3 45 678 9.0 !? ' ` \" - ( ) 's n't 've",
        "日本語のテキスト",
        "🌍 😀",
    ] * 3


@cache
def bert_vocabulary() -> str:
    """A vocab.txt: control tokens, every character of the corpus alone and going on, some whole words."""
    characters = sorted({char for text in corpus() for char in text if not char.isspace()})
    words = ["robot", "Robot", "human", "the", "The", "come", "##s", "##ing", "aren", "cafe", "muss", "roboter"]
    going_on = [f"##{char}" for char in characters if char.isalnum() and char.isascii()]
    return "\n".join([*SPECIAL, *dict.fromkeys([*characters, *going_on, *words])]) + "\n"


def train(tokenizer: Tokenizer, trainer: trainers.Trainer) -> Tokenizer:
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def word_piece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    train(tokenizer, trainers.WordPieceTrainer(vocab_size=400, special_tokens=SPECIAL, show_progress=False))
    cls_and_sep = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=cls_and_sep)
    return tokenizer


def unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<s>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=special, unk_token="<unk>", show_progress=False)
    return train(tokenizer, trainer)


def bpe_of_words() -> Tokenizer:
    """BPE as before GPT-2: words, whose ends are marked."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<unk>"], end_of_word_suffix="</w>", show_progress=False
    )
    return train(tokenizer, trainer)


def bpe_with_byte_fallback() -> Tokenizer:
    """BPE of Llama's first kind: spaces are marks, and what has no token becomes bytes."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    train(tokenizer, trainers.BpeTrainer(vocab_size=600, special_tokens=special, show_progress=False))
    description = json.loads(tokenizer.to_str())
    description["added_tokens"] = description["added_tokens"][:3]  # bytes are ordinary tokens
    return Tokenizer.from_str(json.dumps(description))


def byte_level_with_another_pattern() -> Tokenizer:
    """Byte-level BPE of a later kind: it splits digits and line ends otherwise than GPT-2's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    pattern = Regex(r"(?i:'s|'t|'re|'ve)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pattern, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    train(tokenizer, trainer)
    tokenizer.add_special_tokens(["<|begin|>", "<|end|>"])
    tokenizer.add_tokens([AddedToken("robotic", single_word=True), AddedToken("<tag>", lstrip=True)])
    return tokenizer


def word_level() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return train(tokenizer, trainers.WordLevelTrainer(special_tokens=SPECIAL, show_progress=False))


def write_json(make: Callable[[], Tokenizer], **settings: object) -> Callable[[Path], None]:
    def write(directory: Path) -> None:
        make().save(str(directory / "tokenizer.json"))
        configured = {"tokenizer_class": "PreTrainedTokenizerFast", **settings}
        (directory / "tokenizer_config.json").write_text(json.dumps(configured))

    return write


def write_bert(**settings: object) -> Callable[[Path], None]:
    def write(directory: Path) -> None:
        (directory / "vocab.txt").write_text(bert_vocabulary(), encoding="utf-8")
        configured = {"tokenizer_class": "BertTokenizer", **settings}
        (directory / "tokenizer_config.json").write_text(json.dumps(configured))

    return write


BERT_ROLES = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
KINDS: Mapping[str, Callable[[Path], None]] = {
    "vocab.txt, lower case": write_bert(),
    "vocab.txt, as it is": write_bert(do_lower_case=False, clean_up_tokenization_spaces=True, **BERT_ROLES),
    "vocab.txt, accents stripped": write_bert(do_lower_case=False, strip_accents=True, tokenize_chinese_chars=False),
    "vocab.txt, accents kept": write_bert(strip_accents=False),
    "WordPiece": write_json(word_piece, **BERT_ROLES),
    "Unigram": write_json(unigram, bos_token="<s>", eos_token="</s>", unk_token="<unk>"),
    "Unigram, cleaned": write_json(unigram, eos_token="</s>", clean_up_tokenization_spaces=True),
    "BPE of words": write_json(bpe_of_words, unk_token="<unk>", clean_up_tokenization_spaces=True),
    "BPE with byte fallback": write_json(bpe_with_byte_fallback, bos_token="<s>", eos_token="</s>"),
    "byte-level BPE of another pattern": write_json(byte_level_with_another_pattern, eos_token="<|end|>"),
    "WordLevel": write_json(word_level, pad_token="[PAD]"),
}

_PIECES = [
    *SPECIAL,
    "<s>",
    "</s>",
    "<unk>",
    "<|end|>",
    "<tag>",
    "robotic",
    " robotic ",
    "[CLS",
    "##ing",
    "▁",
    "<0xE4>",
    "robot",
    "Robots",
    "aren't",
    "they 've",
    "café",
    "CAFÉ",
    "cafe\u0301",
    "größter",
    "ŒUVRE",
    "İstanbul",
    "ﬁn",
    "从前",
    "机器人",
    "，",
    "。",
    "“",
    "”",
    "㐀",
    "𠀀",
    "ｈｅｌｌｏ",
    "日本語",
    "🌍",
    "👩‍🚀",
    "\ufffd",
    "\x00",
    "\x07",
    "\u200b",
    "\u00a0",
    "\u3000",
    " ",
    "  ",
    "\n",
    "\r\n",
    "\t",
    ".",
    ",",
    "!",
    "?",
    "'",
    '"',
    " ' ",
    " n't",
    "123",
    "4.5",
    "-",
    "_",
]


def random_text(generator: random.Random) -> str:
    """Words and signs that tokenizers disagree about, and any characters between them."""
    parts = []
    for _ in range(generator.randrange(12)):
        if generator.random() < 0.75:
            parts.append(generator.choice(_PIECES))
        else:
            point = generator.choice((0x80, 0x250, 0x3000, 0xA000, 0x1F700))
            parts.append(chr(generator.randrange(point)) if point < 0xD800 else chr(point + generator.randrange(256)))
        parts.append(generator.choice(("", "", " ")))
    return "".join(parts)
