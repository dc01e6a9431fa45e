#include "simd_avx2.h"

#include "dots.h"
#include "kernels.inl"

namespace cutaway {

const Kernels kKernelsAvx2 = kernels("avx2");

}  // namespace cutaway
