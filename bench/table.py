"""Tables of speeds, generated from the JSON of `bench.compare` and `bench.start`.

python -m bench.table           write them between the markers in the READMEs and docs/comparison.md
python -m bench.table --check   exit with status 1 if one of them holds anything else
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypedDict

from bench.engines import OURS, ROOT
from bench.results import Document

RESULTS = ROOT / "bench" / "results" / "peers.json"
STARTS = ROOT / "bench" / "results" / "start.json"


class Place(NamedTuple):
    """A document, in a language, with a table of the measurements on one machine."""

    path: Path
    language: str
    results: Path
    starts: Path


PLACES = (
    Place(ROOT / "README.md", "en", RESULTS, STARTS),
    Place(ROOT / "README.zh-CN.md", "zh", RESULTS, STARTS),
    Place(
        ROOT / "docs" / "comparison.md",
        "en",
        RESULTS.with_name("peers-amx.json"),
        STARTS.with_name("start-amx.json"),
    ),
)
START = "<!-- bench:start -->"
END = "<!-- bench:end -->"
COLUMNS = ("decode-128", "decode-900", "decode-128-batch-16", "decode-900-batch-16", "prefill-512")


class Words(TypedDict):
    """A language's words around the figures."""

    head: tuple[str, ...]
    seconds: str
    note: str
    start: str
    read: str
    failed: str
    unknown: str


WORDS: dict[str, Words] = {
    "en": {
        "head": (
            "GPT-2 124M",
            "decode after 128",
            "after 900",
            "16 at once, after 128",
            "after 900",
            "prefill of 512",
            "start to first token",
            "memory",
            "installed",
        ),
        "seconds": "{:.2f} s",
        "note": (
            "Tokens per second; {threads} threads, greedy, the same random weights; medians of interleaved runs. In "
            "brackets: how many times faster Cutaway int8 is; below 1×, it is slower. {cpu}, {cores} cores, shared: "
            "other programs took {others} of the processor during the run."
        ),
        "start": (
            "Start: from starting a process to its first token, the fastest of {rounds} starts in turns, on {cpu}, "
            "while other programs took {others} of the processor. `cutaway generate`, which reads its prompt as text: "
            "{seconds:.2f} s."
        ),
        "read": (
            "Decoding with int8 reads the weights at {share} of the {speed:.1f} GB/s that a plain read of as many "
            "bytes reaches with as many threads."
        ),
        "failed": "{name} failed: {reason}.",
        "unknown": "an unknown share",
    },
    "zh": {
        "head": (
            "GPT-2 124M",
            "解码（128 之后）",
            "（900 之后）",
            "16 路并行（128 之后）",
            "（900 之后）",
            "预填充 512",
            "启动到首个词元",
            "内存",
            "安装体积",
        ),
        "seconds": "{:.2f} 秒",
        "note": (
            "单位：词元/秒；{threads} 个线程，贪心解码，权重相同（随机）；交替运行取中位数。"
            "括号内为 Cutaway int8 快多少倍，小于 1× 表示更慢。"
            "{cpu}，{cores} 核，与他人共用：测量期间其他程序占用处理器 {others}。"
        ),
        "start": (
            "启动：从启动进程到首个词元，轮流启动 {rounds} 次取最快一次；{cpu}，期间其他程序占用处理器 {others}。"
            "`cutaway generate`（提示词为文字）：{seconds:.2f} 秒。"
        ),
        "read": "int8 解码读取权重的速度，是同样字节数、同样线程数纯读取（{speed:.1f} GB/s）的 {share}。",
        "failed": "{name} 失败：{reason}。",
        "unknown": "未知",
    },
}


def read_results(path: Path) -> Document:
    """Read the results of `bench.compare` or `bench.start`."""
    document: Document = json.loads(path.read_text(encoding="utf-8"))
    return document


def markdown(document: Document, starts: Document, language: str) -> str:
    """Return the table, and under it the machine and the engines that failed."""
    words = WORDS[language]
    seconds = {entry["name"]: entry["wall_seconds"]["min"] for entry in starts["starts"]}
    head: tuple[str, ...] = words["head"]
    rows = [head, ("---", *["---:"] * (len(head) - 1)), *(_row(entry, seconds, words) for entry in document["engines"])]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return "\n\n".join([table, *_notes(document, starts, words)])


def with_table(text: str, table: str) -> str:
    """Return the document's text with the table between its markers. Raises ValueError if it has no markers."""
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise ValueError(f"there is no place for the table: {START} and {END}")
    return f"{before}{START}\n{table}\n{END}{after}"


def _row(entry: Document, starts: Mapping[str, float], words: Words) -> tuple[str, ...]:
    name = entry["name"]
    return (
        f"**{name}**" if name == OURS else name,
        *(_rate(entry, column) for column in COLUMNS),
        _start(name, starts, words),
        _megabytes(entry["peak_bytes"]),
        _megabytes(entry["installed_bytes"]),
    )


def _start(name: str, starts: Mapping[str, float], words: Words) -> str:
    if name not in starts:
        return "–"
    faster = "" if name == OURS else f" ({starts[name] / starts[OURS]:.2g}×)"
    return words["seconds"].format(starts[name]) + faster


def _rate(entry: Document, task: str) -> str:
    if task not in entry["tasks"]:
        return "–"
    return f"{entry['tasks'][task]['tokens_per_second']:,.0f}{_faster(entry, task)}"


def _faster(entry: Document, task: str) -> str:
    return f" ({entry['ratio'][task]:.2g}×)" if task in entry["ratio"] and entry["name"] != OURS else ""


def _megabytes(n_bytes: int | None) -> str:
    return "–" if n_bytes is None else f"{n_bytes / 1e6:,.0f} MB"


def _notes(document: Document, starts: Document, words: Words) -> Iterator[str]:
    machine = document["machine"]
    read = document["plain_read"]
    yield words["note"].format(
        cpu=_processor(machine),
        cores=machine["cores"],
        threads=document["threads"],
        others=_share(machine, words),
    )
    command = starts["starts"][-1]["wall_seconds"]  # after the engines
    yield words["start"].format(
        rounds=len(command["all"]),
        cpu=_processor(starts["machine"]),
        others=_share(starts["machine"], words),
        seconds=command["min"],
    )
    if read["reached_by_decode"]:
        yield words["read"].format(share=f"{read['reached_by_decode']:.0%}", speed=read["bytes_per_second"] / 1e9)
    for entry in document["engines"]:
        if entry["failed"]:
            yield words["failed"].format(name=entry["name"], reason=entry["failed"])


def _processor(machine: Document) -> str:
    return f"{machine['cpu']} ({', '.join(machine['simd'])})"


def _share(machine: Document, words: Words) -> str:
    """Return the share of the processors that other programs took."""
    return words["unknown"] if machine["others"] is None else f"{machine['others']:.0%}"


def main() -> int:
    """Write or check; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.table", description="Write the tables of speeds.")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; status 1 where a document holds anything else"
    )
    check = parser.parse_args().check
    stale = False
    for place in PLACES:
        text = place.path.read_text(encoding="utf-8")
        wanted = with_table(text, markdown(read_results(place.results), read_results(place.starts), place.language))
        if check and text != wanted:
            name = place.results.name
            print(f"{place.path.name} does not hold the table of {name}: run python -m bench.table", file=sys.stderr)
            stale = True
        elif text != wanted:
            place.path.write_text(wanted, encoding="utf-8")
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())
