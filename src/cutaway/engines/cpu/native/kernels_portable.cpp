#include "simd_portable.h"

#include "dots.h"
#include "kernels.inl"

namespace cutaway {

const Kernels kKernelsPortable = kernels("portable");

}  // namespace cutaway
