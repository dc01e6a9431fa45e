// The memory layout of matrices. Every matrix product of the engine - linear layers, q.K and p.V - reads panels of 16 outputs:
//
//   float32, float16   [panel][k][16]            one vector of outputs for every k
//   int8               [panel][block] Int8Block  32 k's of 16 outputs with their scales
//
// A product adds the terms of an output in ascending k, in one chain, whatever else is computed beside it. That is what makes a
// row's result independent of the batch, of the threads and of how the work is cut: prefill and decode give the same bits.

#pragma once

#include <cstddef>
#include <cstdint>

namespace cutaway {

constexpr int kLanes = 16;  // outputs in a panel: two AVX2 registers or one AVX-512 register of floats
constexpr int kBlock = 32;  // consecutive k's that share a scale

// A float16 as it is stored; the arithmetic is float32 everywhere.
struct Half {
    uint16_t bits;
};

// 32 k's of 16 outputs. Four consecutive k's of an output lie together, which is the order of the VNNI instructions.
struct alignas(32) Int8Block {
    Half scales[kLanes];
    int8_t values[kBlock / 4][kLanes][4];
};
static_assert(sizeof(Int8Block) == 544, "blocks follow each other without gaps");

constexpr size_t divide_up(size_t n, size_t by) { return (n + by - 1) / by; }
constexpr size_t round_up(size_t n, size_t to) { return divide_up(n, to) * to; }

}  // namespace cutaway
