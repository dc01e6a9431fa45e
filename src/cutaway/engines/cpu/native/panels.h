// The memory layout of matrices. Every matrix product of the engine - linear layers, q.K and p.V - reads panels of 16 outputs:
//
//   float32, float16   [panel][k][16]            16 outputs for each k
//   int8               [panel][block] Int8Block  32 k's of 16 outputs, with their scales
//
// The terms of an output are added in ascending k, one after the other. So the result for a row does not depend on the batch, the
// number of threads or the tiling: prefill and decode give the same bits.

#pragma once

#include <cstddef>
#include <cstdint>

namespace cutaway {

constexpr int kLanes = 16;  // outputs in a panel: two AVX2 registers or one AVX-512 register of floats
constexpr int kBlock = 32;  // consecutive k's that share a scale

// A stored float16; all arithmetic is float32.
struct Half {
    uint16_t bits;
};

// 32 k's of 16 outputs. Four consecutive k's of an output are adjacent, as VNNI instructions read them.
struct alignas(32) Int8Block {
    Half scales[kLanes];
    int8_t values[kBlock / 4][kLanes][4];
};
static_assert(sizeof(Int8Block) == 544, "no padding between blocks");

constexpr size_t divide_up(size_t n, size_t by) { return (n + by - 1) / by; }
constexpr size_t round_up(size_t n, size_t to) { return divide_up(n, to) * to; }
constexpr size_t padded(int width) { return round_up(width, kBlock); }  // of a row of activations

}  // namespace cutaway
