"""Part 2 of the article: the parameters of a block and of the model."""

from collections.abc import Iterator, Sequence

import numpy as np

from cutaway.config import GPT2Config
from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import plural
from cutaway.figures.panels import (
    Bars,
    Box,
    Drawing,
    Entry,
    Label,
    Line,
    LocalizedText,
    Note,
    Number,
    Panel,
    Shapes,
    Table,
    computed,
    integer,
)
from cutaway.figures.statement import Statement
from cutaway.parameters import ParameterTable, Row, notes, parameter_table, published_as
from cutaway.trace import Trace

WIDEST = 56  # width of the widest matrix of a block, in characters
LEAST = 7, 3  # width and height of the smallest box, in characters and lines
NOT_THE_ARTICLES = LocalizedText(
    "The article's table is that of GPT-2 small (124M). This model has another shape, so the article has no numbers to "
    "stand beside these.",
    "文章的表是 GPT-2 small（124M）的参数表。这个模型的形状不同，文章里没有可以并列的数字。",
)
ASPECT = 7.3 / 18  # width of a character / height of a line


def _block(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer = chosen.layer
    table = parameter_table(trace.config)
    matrices = [row for row in table.block if len(row.shape) > 1]
    sizes = [row.parameters for row in matrices]
    apart = ("", "")
    if trace.config.relative_positions:
        apart = (
            " The table of relative positions, attn.relative, is not drawn.",
            "相对位置的表 attn.relative 没有画出。",
        )
    shares = np.array([*sizes, table.block_parameters - sum(sizes)]) / table.block_parameters
    return (
        Note(
            LocalizedText(
                f"The weights of block {layer} (counted from 0), to scale: four matrices, a bias for each of their "
                "columns (the line below a matrix), and two LayerNorms with a gain and a bias for each number."
                f"{apart[0]}",
                f"第 {layer} 个块（从 0 数起）的权重，按比例绘制：四个矩阵，每一列各有一个偏置（矩阵下方的线），"
                f"还有两个层归一化，每个数各有一个增益和一个偏置。{apart[1]}",
            )
        ),
        Drawing(
            LocalizedText(
                "a matrix has a row for each input, a column for each output", "矩阵的行对应输入，列对应输出"
            ),
            _drawn_block(trace.config),
        ),
        Bars(
            LocalizedText(
                f"shares of the block's {table.block_parameters:,} parameters",
                f"在这个块的 {table.block_parameters:,} 个参数中各占多少",
            ),
            [*(row.tensor.removesuffix(".weight") for row in matrices), "ln_*, *.bias"],
            computed(f"sizes of h.{layer}.* / their sum", shares),
        ),
    )


def _drawn_block(config: GPT2Config) -> Shapes:
    """Draw attention above the MLP, and beside both the MLP's second matrix, which is as high as the first is wide."""
    d = config.n_embd
    inner = config.n_inner
    unit = WIDEST / max(3 * d, inner)
    attention, attention_height = _drawn_matrix("attn.c_attn", d, 3 * d, 0, 3, unit, "query")
    beside = _right_edge(attention) + 3
    projection, _ = _drawn_matrix("attn.c_proj", d, d, beside, 3, unit, "output")
    below = 3 + attention_height + 1
    hidden, _ = _drawn_matrix("mlp.c_fc", d, inner, 0, below + 3, unit, "mlp")
    far = max(_right_edge(projection), _right_edge(hidden)) + 2
    back, _ = _drawn_matrix("mlp.c_proj", inner, d, far, 0, unit, "mlp")
    norms = [*_drawn_norm("ln_1", d, 0, unit), *_drawn_norm("ln_2", d, below, unit)]
    return [*norms, *attention, *projection, *hidden, *back]


def _drawn_matrix(name: str, rows: int, columns: int, x: int, y: int, unit: float, colour: str) -> tuple[Shapes, int]:
    """Draw a matrix below its name and shape, and its bias below it; also return the height in lines."""
    wide = max(LEAST[0], round(columns * unit))
    high = max(LEAST[1], round(rows * unit * ASPECT))
    shapes: Shapes = [
        Label(x, y, name),
        Label(x, y + 1, f"{rows:,} × {columns:,}"),
        Box(x, y + 2, wide, high, colour=colour),
        Line(x, y + 2 + high, x + wide - 1, y + 2 + high, arrow=False),
    ]
    return shapes, high + 3


def _drawn_norm(name: str, width: int, y: int, unit: float) -> Shapes:
    line = Line(0, y + 1, max(LEAST[0], round(width * unit)) - 1, y + 1, arrow=False)
    return [Label(0, y, f"{name}  2 × {width:,}"), line]


def _right_edge(shapes: Shapes) -> int:
    return max(shape.x + shape.width for shape in shapes if isinstance(shape, Box))


def _check_block(trace: Trace, chosen: Selection) -> Check:
    table = parameter_table(trace.config)
    prefix = f"h.{chosen.layer}."
    loaded = {name.removeprefix(prefix): trace[name].shape for name in trace.weights if name.startswith(prefix)}
    held = sum(int(np.prod(shape)) for shape in loaded.values())
    counted = table.block_parameters
    relative = " + config.n_embd * config.relative_positions" if trace.config.relative_positions else ""
    return Check(
        loaded == {row.tensor: row.shape for row in table.block} and held == counted,
        Statement(
            "the {tensors} tensors of {block} that are loaded hold {held} numbers; counted from the shapes they are "
            "{counted}",
            "已加载的 {block} 的 {tensors} 个张量共有 {held} 个数；按形状计算是 {counted} 个",
            tensors=integer(len(loaded), f"tensors({prefix}*)"),
            block=f"h.{chosen.layer}",
            held=_count(f"{prefix}*", held),
            counted=integer(
                counted,
                "4 * config.n_embd * (config.n_embd + 1) + 2 * config.n_embd * config.n_inner + config.n_inner "
                f"+ 5 * config.n_embd{relative}",
            ),
        ),
    )


def _model(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    groups = _loaded(trace)
    total = trace.config.n_params
    blocks = [size for name, size in groups.items() if name.startswith("h.")]
    rest = {name: size for name, size in groups.items() if not name.startswith("h.")}
    return (
        Note(
            LocalizedText(
                "All weights of the model: the two embedding matrices, the blocks, all of one size (one in F57), and "
                "the last LayerNorm. The bars stand for the part that each has of all parameters. The narrower and "
                "lower the model, the larger the part of wte.",
                "模型的全部权重：两个嵌入矩阵、大小都相同的各个块（F57 画出了一个），以及最后的层归一化。"
                "条的长短表示各自在全部参数中的占比。模型越窄、层数越少，wte 的占比就越大。",
            )
        ),
        Bars(
            LocalizedText("share of all parameters", "在全部参数中的占比"),
            list(groups),
            computed("size / sum of sizes", np.array(list(groups.values())) / total),
        ),
        Table(
            LocalizedText("shapes, rows × columns, and numbers", "形状（行 × 列）与个数"),
            (LocalizedText("weights", "权重"), LocalizedText("shape", "形状"), LocalizedText("parameters", "参数")),
            [
                *((name, _shapes(trace, name), _count(name, size)) for name, size in rest.items()),
                (_blocks(len(blocks)), f"{len(blocks)} × {blocks[0]:,}", _count("h.*", sum(blocks))),
                (LocalizedText("total", "合计"), "", _count("*", sum(groups.values()))),
            ],
        ),
    )


def _loaded(trace: Trace) -> dict[str, int]:
    """Count the loaded parameters of wte, wpe, each block (h.0 ...), ln_f and an untied head."""
    sizes: dict[str, int] = {}
    for name in trace.weights:
        parts = name.split(".")
        group = ".".join(parts[:2]) if parts[0] == "h" else parts[0]
        sizes[group] = sizes.get(group, 0) + trace[name].size
    return sizes


def _shapes(trace: Trace, group: str) -> str:
    """List the shapes of a group's tensors: one for wte, wpe and an untied head, two for ln_f."""
    loaded = (trace.weights[name].shape for name in trace.weights if name.split(".")[0] == group)
    return ", ".join(" × ".join(f"{n:,}" for n in shape) for shape in loaded)


def _blocks(count: int) -> str:
    return "h.0" if count == 1 else f"h.0 ... h.{count - 1}"


def _count(what: str, size: int) -> Number:
    return Number(size, f"size({what})", form=",")


def _check_model(trace: Trace, chosen: Selection) -> Check:
    groups = _loaded(trace)
    n_layer = trace.config.n_layer
    blocks = {size: name for name, size in groups.items() if name.startswith("h.")}
    loaded = sum(groups.values())
    counted = trace.config.n_params
    shapes = trace.config.tensor_shapes()
    fitting = sum(trace[name].shape == tuple(shapes.get(name, ())) for name in trace.weights)
    return Check(
        len(blocks) == 1 and loaded == counted and fitting == len(shapes),
        Statement(
            "{loaded} numbers are loaded, {counted} counted from the shape; {blocks:block} of {sizes}; {fitting} of "
            "{tensors} tensors have the shape that the config gives",
            "加载了 {loaded} 个数，按形状计算是 {counted} 个；{blocks} 个块，每块 {sizes} 个；"
            "{tensors} 个张量中，{fitting} 个的形状与配置相符",
            loaded=_count("*", loaded),
            counted=integer(counted, "config.n_params"),
            blocks=integer(n_layer, "config.n_layer"),
            sizes=[_count(f"{blocks[size]}.*", size) for size in sorted(blocks)],
            fitting=integer(fitting, "fitting_tensors(config)"),
            tensors=integer(len(shapes), "tensors(*)"),
        ),
    )


def _table(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    table = parameter_table(trace.config)
    return *parameter_panels(table), *([] if table.matches_article else [Note(NOT_THE_ARTICLES)])


def parameter_panels(table: ParameterTable) -> Sequence[Panel]:
    """Tabulate a model's parameters by tensor, beside the article's numbers if the model has the same shape.

    >>> from cutaway.config import GPT2Config
    >>> from cutaway.parameters import parameter_table
    >>> [type(panel).__name__ for panel in parameter_panels(parameter_table(GPT2Config()))]
    ['Table', 'Note', 'Note', 'Note']
    """
    title = LocalizedText("parameters of the loaded model", "已加载模型的参数")
    columns = [LocalizedText("tensor", "张量"), LocalizedText("shape", "形状"), LocalizedText("parameters", "参数")]
    if table.matches_article:
        columns += [LocalizedText("the article", "文章"), LocalizedText("differs", "有出入")]
    explained = (Note(LocalizedText(en, zh)) for en, zh in zip(notes(table), _notes_zh(table), strict=True))
    return Table(title, columns, list(_rows(table))), *explained


def _rows(table: ParameterTable) -> Iterator[Sequence[Entry]]:
    def line(name: str | LocalizedText, what: str, shape: tuple[int, ...], ours: int, articles: int) -> Sequence[Entry]:
        entries = (name, " × ".join(f"{n:,}" for n in shape), _count(what, ours))
        if not table.matches_article:
            return entries
        return *entries, Number(articles, "article.parameters", form=","), "" if ours == articles else "←"

    def tensor(row: Row, prefix: str = "") -> Sequence[Entry]:
        return line(prefix + row.tensor, prefix + row.tensor, row.shape, row.parameters, row.article)

    n_layer = table.config.n_layer
    yield from map(tensor, table.embeddings)
    yield from (tensor(row, "h.*.") for row in table.block)
    yield line(LocalizedText("one block", "一个块"), "h.0", (), table.block_parameters, table.article_block)
    blocks = LocalizedText(f"all {plural(n_layer, 'block')}", f"全部 {n_layer} 个块")
    yield line(blocks, "h.*", (), table.blocks_parameters, table.article_blocks)
    yield from map(tensor, table.final)
    yield line(LocalizedText("total", "合计"), "*", (), table.parameters, table.article_parameters)


def _notes_zh(table: ParameterTable) -> list[str]:
    """Translate `cutaway.parameters.notes` into Chinese."""
    said = []
    if table.matches_article:
        missing = table.parameters - table.article_parameters
        left_out = sum(row.difference for row in table.final)
        wrong = [row for row in table.block if row.difference]
        slips = "、".join(f"{row.tensor} 记为 {row.article:,}（实为 {row.parameters:,}）" for row in wrong)
        per_block = sum(row.difference for row in wrong)
        said.append(
            f"文章的表合计 {table.article_parameters:,}，少了 {missing:,}：{table.config.n_layer} 个块中，每个都把 "
            f"{slips}；另外漏了 ln_f。{table.config.n_layer} × {per_block:,} + {left_out:,} = {missing:,}。"
        )
    model = published_as(table.config)
    if model is not None:
        said.append(
            f"OpenAI 起初把这个模型称为 {model.first_size}，后来改称 {model.size}：openai/gpt-2 的 README 承认，"
            "最初的参数量数错了。"
        )
    with_a_copy, with_none = (table.parameters + sign * table.head_parameters for sign in (1, -1))
    tied = f"输出矩阵就是 wte（权重共享），所以只算一次。若另存一份，模型会有 {with_a_copy:,} 个参数。"
    untied = f"输出矩阵 lm_head 是单独的一份。若像 OpenAI 那样与 wte 共享，模型会有 {with_none:,} 个参数。"
    return [*said, tied if table.config.tie_word_embeddings else untied]


def _check_table(trace: Trace, chosen: Selection) -> Check:
    table = parameter_table(trace.config)
    loaded = sum(_loaded(trace).values())
    statement = Statement(
        "the table comes to {counted} parameters; {loaded} numbers are loaded",
        "表中合计 {counted} 个参数；加载了 {loaded} 个数",
        counted=integer(table.parameters, "config.n_params"),
        loaded=_count("*", loaded),
    )
    if table.matches_article:
        statement = Statement(
            "{ours}; the article's comes to {total}",
            "{ours}；文章的表合计 {total}",
            ours=statement,
            total=integer(table.article_parameters, "article.parameters"),
        )
    return Check(table.parameters == loaded, statement)


FIGURES = (
    Figure(
        "F57",
        LocalizedText("The weights of one block", "一个块的权重"),
        part=2,
        picture=55,
        tensors=("h.L.*",),
        draw=_block,
        verify=_check_block,
    ),
    Figure(
        "F58",
        LocalizedText("The weights of the whole model", "整个模型的权重"),
        part=2,
        picture=56,
        tensors=("wte.weight", "wpe.weight", "h.*", "ln_f.*"),
        draw=_model,
        verify=_check_model,
    ),
    Figure(
        "F59",
        LocalizedText("The table of parameters", "参数表"),
        part=2,
        picture=57,
        tensors=("*",),
        draw=_table,
        verify=_check_table,
    ),
)
