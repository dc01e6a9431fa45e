// All kernels of one instruction set, included by kernels_*.cpp after its simd_*.h. A new format is listed here.

#include "kernels.h"

#include "kernel_math.inl"
#include "kernel_linear.inl"
#include "kernel_attention.inl"
#include "kernel_rows.inl"

#include "kernel_float32.inl"
#include "kernel_int8.inl"

namespace cutaway {
namespace {

constexpr const Format* kFormats[] = {&kFloat32, &kInt8, nullptr};

constexpr Kernels kernels(const char* name) { return {name, kFormats, attend, store_kv, layer_norm, quantise}; }

}  // namespace
}  // namespace cutaway
