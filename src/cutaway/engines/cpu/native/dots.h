// How int8 products are computed where there are no tile registers; dots_amx.h is used instead where there are.

#pragma once

#include "dots_in_registers.h"

namespace cutaway {
namespace {

constexpr int kDotRows = kInt8Rows;

template <int M>
using Dots = DotsInRegisters<M>;

}  // namespace
}  // namespace cutaway
