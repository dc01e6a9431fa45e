#include "kernels.h"
#include "simd_avx512.h"

#include "body_math.h"
#include "body_linear.h"
#include "body_attention.h"
#include "body_rows.h"

namespace cutaway {

const Kernels kKernelsAvx512 = {"avx512", linear_float, linear_int8, linear_int8_exact, attend, remember, layer_norm, quantise};

}  // namespace cutaway
