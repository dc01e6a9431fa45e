// Dot products of M rows of quantised activations with a panel, block by block, in the vector registers that `dot_block` returns.

#pragma once

#include "kernels.h"

namespace cutaway {
namespace {

template <int M>
class DotsInRegisters {
  public:
    struct Setup {};

    DotsInRegisters(const Int8Block* blocks, int, QuantisedRows x) : blocks_(blocks), x_(x) {}

    // Compute the dot products of a block; blocks are requested in order.
    void compute(int b) {
        const Quantised* values = static_cast<const Quantised*>(x_.values) + b * kBlock;
        dot_block<M>(blocks_[b], values, x_.stride, x_.sums + b, x_.stride / kBlock, dots_);
    }

    // The dot products of row m.
    Vec operator[](int m) const { return dots_[m]; }

  private:
    const Int8Block* blocks_;
    QuantisedRows x_;
    Vec dots_[M];
};

}  // namespace
}  // namespace cutaway
