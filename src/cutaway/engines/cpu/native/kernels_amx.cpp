#include "simd_avx512.h"

#include "dots_amx.h"
#include "kernels.inl"

namespace cutaway {

const Kernels kKernelsAmx = kernels("amx");

}  // namespace cutaway
