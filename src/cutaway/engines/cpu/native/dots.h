// int8 dot products for instruction sets without tile registers; with them, dots_amx.h is used instead.

#pragma once

#include "dots_in_registers.h"

namespace cutaway {
namespace {

constexpr int kDotRows = kInt8Rows;

template <int M>
using Dots = DotsInRegisters<M>;

}  // namespace
}  // namespace cutaway
