#include "kernels.h"
#include "simd_avx512.h"

#include "kernel_math.inl"
#include "kernel_linear.inl"
#include "kernel_attention.inl"
#include "kernel_rows.inl"

namespace cutaway {

const Kernels kKernelsAvx512 = {"avx512", linear_float, linear_int8, linear_int8_exact, attend, store_kv, layer_norm, quantise};

}  // namespace cutaway
