"""Triton kernels for training on a GPU, called by `fused.py`. Each reads and writes its tensors once.

Kernels that compute gradients also write, for each program, the sum over its rows; adding these up gives the gradients
of gains and biases. Rows are tokens, and every matrix (n_rows, n_columns) is contiguous.
"""

import triton
import triton.language as tl

GELU_A = tl.constexpr(1.5957691216057308)  # as in model.py
GELU_B = tl.constexpr(0.07135481627260025)
LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def add_norm_forward(
    x,  # the residual stream, float32
    added,  # the addition to it, without its bias
    bias,
    gain,
    shift,
    total,  # x + added + bias
    out,  # LayerNorm of total
    means,  # (n_rows,) float32
    scales,  # (n_rows,) float32: 1 / standard deviation
    n_rows,
    n_columns,
    epsilon,
    ADDS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Add to the residual stream and normalise the sum, ROWS rows per program."""
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, COLUMNS)
    is_column = columns < n_columns
    inside = (rows < n_rows)[:, None] & is_column[None, :]
    place = rows[:, None] * n_columns + columns[None, :]
    value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    if ADDS:
        value += tl.load(added + place, mask=inside, other=0.0).to(tl.float32)
        value += tl.load(bias + columns, mask=is_column, other=0.0).to(tl.float32)[None, :]
        tl.store(total + place, value, mask=inside)
    mean = tl.sum(value, 1) / n_columns
    centred = tl.where(inside, value - mean[:, None], 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, 1) / n_columns + epsilon)
    weight = tl.load(gain + columns, mask=is_column, other=0.0).to(tl.float32)
    offset = tl.load(shift + columns, mask=is_column, other=0.0).to(tl.float32)
    normal = centred * scale[:, None] * weight[None, :] + offset[None, :]
    tl.store(out + place, normal.to(out.dtype.element_ty), mask=inside)
    tl.store(means + rows, mean, mask=rows < n_rows)
    tl.store(scales + rows, scale, mask=rows < n_rows)


@triton.jit
def add_norm_backward(
    d_out,
    d_total,  # gradient from the other uses of `total`
    total,
    means,
    scales,
    gain,
    dx,
    d_added,  # dx in the dtype of `added`
    sums,  # (n_programs, 3, n_columns) float32: gradients of gain, shift and bias
    n_rows,
    n_columns,
    HAS_TOTAL: tl.constexpr,
    ADDS: tl.constexpr,
    COLUMNS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Compute the gradients of `add_norm_forward`, a row at a time."""
    program = tl.program_id(0)
    width = n_columns.to(tl.int64)
    columns = tl.arange(0, COLUMNS)
    is_column = columns < n_columns
    weight = tl.load(gain + columns, mask=is_column, other=0.0).to(tl.float32)
    d_gain = tl.zeros([COLUMNS], tl.float32)
    d_shift = tl.zeros([COLUMNS], tl.float32)
    d_bias = tl.zeros([COLUMNS], tl.float32)
    for row in tl.range(program, n_rows, tl.num_programs(0), num_stages=STAGES):
        place = row * width + columns
        gradient = tl.load(d_out + place, mask=is_column, other=0.0).to(tl.float32)
        value = tl.load(total + place, mask=is_column, other=0.0).to(tl.float32)
        scale = tl.load(scales + row)
        normal = (value - tl.load(means + row)) * scale
        weighted = gradient * weight
        along = tl.sum(weighted * normal, 0) / n_columns
        common = tl.sum(weighted, 0) / n_columns
        slope = (weighted - normal * along - common) * scale
        if HAS_TOTAL:
            slope += tl.load(d_total + place, mask=is_column, other=0.0).to(tl.float32)
        tl.store(dx + place, slope, mask=is_column)
        if ADDS:
            tl.store(d_added + place, slope.to(d_added.dtype.element_ty), mask=is_column)
        d_gain += gradient * normal
        d_shift += gradient
        d_bias += slope
    part = sums + program.to(tl.int64) * 3 * n_columns + columns
    tl.store(part, d_gain, mask=is_column)
    tl.store(part + n_columns, d_shift, mask=is_column)
    tl.store(part + 2 * n_columns, d_bias, mask=is_column)


@triton.jit
def sigmoid(x):
    """Compute 1 / (1 + exp(-x)). Squaring a reciprocal square root takes a third of the time of a division."""
    root = tl.rsqrt(1.0 + tl.exp2(x * -LOG2_E))
    return root * root


@triton.jit
def gelu_forward(x, bias, out, n_rows, n_columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Compute OpenAI's GELU of x + bias."""
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    is_column = columns < n_columns
    inside = (rows < n_rows)[:, None] & is_column[None, :]
    place = rows[:, None] * n_columns + columns[None, :]
    value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    value += tl.load(bias + columns, mask=is_column, other=0.0).to(tl.float32)[None, :]
    gate = sigmoid(value * (value * value * GELU_B + GELU_A))
    tl.store(out + place, (value * gate).to(out.dtype.element_ty), mask=inside)


@triton.jit
def gelu_backward(
    d_out,
    x,
    bias,
    dx,
    sums,  # (programs along rows, n_columns) float32: the gradient of bias
    n_rows,
    n_columns,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Compute the gradients of `gelu_forward`, ROWS rows at a time."""
    program = tl.program_id(0)
    step = tl.num_programs(0) * ROWS
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    is_column = columns < n_columns
    offset = tl.load(bias + columns, mask=is_column, other=0.0).to(tl.float32)
    d_bias = tl.zeros([ROWS, COLUMNS], tl.float32)
    for start in tl.range(program * ROWS, n_rows, step, num_stages=STAGES):
        rows = start + tl.arange(0, ROWS)
        inside = (rows < n_rows)[:, None] & is_column[None, :]
        place = rows.to(tl.int64)[:, None] * n_columns + columns[None, :]
        value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32) + offset[None, :]
        gradient = tl.load(d_out + place, mask=inside, other=0.0).to(tl.float32)
        squares = value * value
        gate = sigmoid(value * (squares * GELU_B + GELU_A))
        slope = gradient * (gate + value * gate * (1.0 - gate) * (squares * (3.0 * GELU_B) + GELU_A))
        tl.store(dx + place, slope.to(dx.dtype.element_ty), mask=inside)
        d_bias += slope
    tl.store(sums + program.to(tl.int64) * n_columns + columns, tl.sum(d_bias, 0), mask=is_column)


@triton.jit
def join_heads(
    source,  # (B, H, T, dh) with these strides
    stride_batch,
    stride_head,
    stride_token,
    out,  # (B * T, n_columns): this source begins at column `first`
    sums,  # (B, n_columns) float32
    n_tokens,
    d_head,
    n_columns,
    first,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Copy the gradients of one head of one sequence to its columns of `out`, and sum them over tokens."""
    batch = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    columns = tl.arange(0, COLUMNS)
    is_column = columns < d_head
    source += batch * stride_batch + head * stride_head
    out += batch * n_tokens * n_columns + first + head * d_head
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    for start in range(0, n_tokens, ROWS):
        tokens = start + tl.arange(0, ROWS)
        inside = (tokens < n_tokens)[:, None] & is_column[None, :]
        value = tl.load(source + tokens[:, None] * stride_token + columns[None, :], mask=inside, other=0.0)
        tl.store(out + tokens[:, None] * n_columns + columns[None, :], value, mask=inside)
        total += value.to(tl.float32)
    tl.store(sums + batch * n_columns + first + head * d_head + columns, tl.sum(total, 0), mask=is_column)


@triton.jit
def load_logits(logits, offset, columns, stride, n_columns, HAS_OFFSET: tl.constexpr):
    """Load logits, scaled for exp2; columns from `n_columns` on are -infinity."""
    value = tl.load(logits + columns, mask=columns < stride, other=0.0).to(tl.float32)
    if HAS_OFFSET:
        value += tl.load(offset + columns, mask=columns < n_columns, other=0.0)
    return tl.where(columns < n_columns, value, float("-inf")) * LOG2_E


@triton.jit
def cross_entropy(
    logits,  # (n_rows, stride), of which n_columns count; overwritten by the gradient
    offset,  # (n_columns,), added to each row
    targets,  # (n_rows,), negative for rows to ignore
    losses,  # (n_rows,) float32
    stride,
    n_columns,
    smoothing,
    HAS_OFFSET: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Compute the cross-entropy of a row of logits, and overwrite the logits by its gradient."""
    row = tl.program_id(0).to(tl.int64)
    logits += row * stride
    target = tl.load(targets + row)
    counts = tl.where(target < 0, 0.0, 1.0)
    columns = tl.arange(0, COLUMNS)
    place = tl.maximum(target, 0)
    wanted = tl.load(logits + place).to(tl.float32)
    if HAS_OFFSET:
        wanted += tl.load(offset + place)

    # Exponentials are relative to the maximum of the first COLUMNS columns, which saves a pass over the others. The sum
    # overflows only if another logit is larger by 88 nats: then the maximum of all columns is found.
    value = load_logits(logits, offset, columns, stride, n_columns, HAS_OFFSET)
    largest = tl.max(value, 0)
    sums = tl.exp2(value - largest)
    for start in range(COLUMNS, n_columns, COLUMNS):
        sums += tl.exp2(load_logits(logits, offset, start + columns, stride, n_columns, HAS_OFFSET) - largest)
    total = tl.sum(sums, 0)
    if total == float("inf"):
        for start in range(COLUMNS, n_columns, COLUMNS):
            value = load_logits(logits, offset, start + columns, stride, n_columns, HAS_OFFSET)
            largest = tl.maximum(largest, tl.max(value, 0))
        sums = tl.zeros([COLUMNS], tl.float32)
        for start in range(0, n_columns, COLUMNS):
            sums += tl.exp2(load_logits(logits, offset, start + columns, stride, n_columns, HAS_OFFSET) - largest)
        total = tl.sum(sums, 0)
    log_total = largest + tl.log2(total)
    tl.store(losses + row, (log_total / LOG2_E - wanted) * counts)

    shared = smoothing / n_columns
    n_blocks = tl.cdiv(stride, COLUMNS)
    for block in range(n_blocks):  # last blocks first: they are still in the cache
        here = (n_blocks - 1 - block) * COLUMNS + columns
        slope = tl.exp2(load_logits(logits, offset, here, stride, n_columns, HAS_OFFSET) - log_total) - shared
        slope = tl.where(here == target, slope - (1.0 - smoothing), slope)
        slope = tl.where(here < n_columns, slope * counts, 0.0)
        tl.store(logits + here, slope.to(logits.dtype.element_ty), mask=here < stride)
