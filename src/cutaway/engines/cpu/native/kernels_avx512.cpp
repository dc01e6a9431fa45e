#include "simd_avx512.h"

#include "dots.h"
#include "kernels.inl"

namespace cutaway {

const Kernels kKernelsAvx512 = kernels("avx512");

}  // namespace cutaway
