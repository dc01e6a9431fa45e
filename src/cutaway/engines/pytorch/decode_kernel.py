"""The Triton kernel for attention of one new token per sequence to a KV cache. Triton comes with PyTorch for CUDA.

Each program reads a part of the slots of one head of one row ("flash-decoding"), so that even a few rows keep many
multiprocessors busy. The last program of a head to finish combines the partial results. Shapes: see `decoding.py`.
"""

import triton
import triton.language as tl


def _attend_next(  # type: ignore[no-untyped-def]
    q,  # (B, H, dh), like k and v, with strides for rows and heads
    k,
    v,
    k_rows,  # (B,): address of each row's slots (H, S, dh) in the first layer; 0 skips the row
    v_rows,
    lengths,  # (B,)
    arrived,  # (B, H): number of programs that have stored their part; 0 between launches
    parts,  # (B, H, splits, DH_POWER) float32
    sums,  # (B, H, splits, 2) float32: largest score and sum of weights
    out,  # (B, H, dh)
    scale,
    q_row,
    q_head,
    new_row,
    new_head,
    layer_offset,  # elements between a row's address and its slots in this layer
    n_heads,
    n_slots,
    DH: tl.constexpr,
    DH_POWER: tl.constexpr,
    BLOCK: tl.constexpr,  # slots read at a time
    SPLIT: tl.constexpr,  # slots per program, a multiple of BLOCK
    N_SPLITS: tl.constexpr,
    SPLITS_POWER: tl.constexpr,
):
    """Attend from the new token of one row to a part of the slots of one head."""
    head = tl.program_id(0)
    row = tl.program_id(1)
    split = tl.program_id(2)
    wide_row = row.to(tl.int64)
    k_address = tl.load(k_rows + row)
    v_address = tl.load(v_rows + row)
    position = tl.minimum(tl.load(lengths + row), n_slots - 1).to(tl.int32)
    first = split * SPLIT
    if (k_address != 0) & (first <= position):
        skipped = layer_offset + head.to(tl.int64) * n_slots * DH
        k_slots = tl.multiple_of(k_address.to(tl.pointer_type(k.dtype.element_ty)), 16) + skipped
        v_slots = tl.multiple_of(v_address.to(tl.pointer_type(v.dtype.element_ty)), 16) + skipped
        d = tl.arange(0, DH_POWER)
        is_there = d < DH
        query = tl.load(q + wide_row * q_row + head * q_head + d, mask=is_there, other=0.0).to(tl.float32) * scale
        new_key = tl.load(k + wide_row * new_row + head * new_head + d, mask=is_there, other=0.0)
        new_value = tl.load(v + wide_row * new_row + head * new_head + d, mask=is_there, other=0.0)
        n_active = position // SPLIT + 1
        is_last = split == n_active - 1
        tl.store(k_slots + position * DH + d, new_key, mask=is_there & is_last)
        tl.store(v_slots + position * DH + d, new_value, mask=is_there & is_last)
        largest = tl.where(is_last, tl.sum(query * new_key.to(tl.float32), 0), float("-inf"))
        total = tl.where(is_last, 1.0, 0.0)
        mixed = tl.where(is_last, new_value.to(tl.float32), 0.0)
        end = tl.minimum(first + SPLIT, position)
        for start in range(first, end, BLOCK):
            slots = start + tl.arange(0, BLOCK)
            is_held = slots < end
            places = slots[:, None] * DH + d[None, :]
            mask = is_held[:, None] & is_there[None, :]
            keys = tl.load(k_slots + places, mask=mask, other=0.0).to(tl.float32)
            values = tl.load(v_slots + places, mask=mask, other=0.0).to(tl.float32)
            scores = tl.where(is_held, tl.sum(keys * query[None, :], 1), float("-inf"))
            new_largest = tl.maximum(largest, tl.max(scores, 0))
            shrink = tl.exp(largest - new_largest)
            weights = tl.exp(scores - new_largest)
            total = total * shrink + tl.sum(weights, 0)
            mixed = mixed * shrink + tl.sum(weights[:, None] * values, 0)
            largest = new_largest
        place = wide_row * n_heads + head
        result = out + place * DH + d
        if n_active == 1:
            tl.store(result, (mixed / total).to(out.dtype.element_ty), mask=is_there)
        elif N_SPLITS > 1:
            part = place * N_SPLITS
            tl.store(parts + (part + split) * DH_POWER + d, mixed)
            tl.store(sums + (part + split) * 2, largest)
            tl.store(sums + (part + split) * 2 + 1, total)
            tl.debug_barrier()  # all threads must have stored before the part is counted
            if tl.atomic_add(arrived + place, 1, sem="acq_rel") == n_active - 1:
                splits = tl.arange(0, SPLITS_POWER)
                is_found = splits < n_active
                found = sums + (part + splits) * 2
                all_largest = tl.load(found, mask=is_found, other=float("-inf"), cache_modifier=".cg")
                all_totals = tl.load(found + 1, mask=is_found, other=0.0, cache_modifier=".cg")
                all_mixed = tl.load(
                    parts + (part + splits)[:, None] * DH_POWER + d[None, :],
                    mask=is_found[:, None],
                    other=0.0,
                    cache_modifier=".cg",
                )
                factors = tl.exp(all_largest - tl.max(all_largest, 0))
                combined = tl.sum(all_mixed * factors[:, None], 0) / tl.sum(all_totals * factors, 0)
                tl.store(result, combined.to(out.dtype.element_ty), mask=is_there)
                tl.store(arrived + place, 0)


attend_next_kernel = triton.jit(_attend_next)
