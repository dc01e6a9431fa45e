// Sixteen floats as one AVX-512 register; int8 dot products by VNNI.

#pragma once

#include <immintrin.h>

#include <cstring>

#include "lanes_x86.h"
#include "panels.h"

namespace cutaway {
namespace {

// A tile of 12 rows x 2 panels needs 24 of the 32 registers for its sums.
constexpr int kFloatRows = 12;
constexpr int kInt8Rows = 12;
constexpr int panels_at_once(int rows) { return rows == 1 ? 4 : 2; }

struct Vec {
    __m512 v;
};

inline Vec broadcast(float x) { return {_mm512_set1_ps(x)}; }
inline Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline void store(float* p, Vec a) { _mm512_storeu_ps(p, a.v); }

inline Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }

// max and min return the second operand if either is NaN.
inline Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
inline Vec abs(Vec a) { return {_mm512_abs_ps(a.v)}; }

// 0 where x < limit, else v, also where x is NaN.
inline Vec zero_below(Vec x, float limit, Vec v) {
    return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x.v, _mm512_set1_ps(limit), _CMP_NLT_UQ), v.v)};
}

// Round to the nearest integer, ties to even.
inline Vec round(Vec x) { return {_mm512_roundscale_ps(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }

// v * 2**n for integer n; the result must be a normal number.
inline Vec times_power_of_two(Vec v, Vec n) { return {_mm512_scalef_ps(v.v, n.v)}; }

// Sum over the lanes, always in the same order.
inline float sum_of_lanes(Vec v) { return sum_of_eight(_mm256_add_ps(_mm512_castps512_ps256(v.v), _mm512_extractf32x8_ps(v.v, 1))); }
inline float max_of_lanes(Vec v) { return max_of_eight(_mm256_max_ps(_mm512_castps512_ps256(v.v), _mm512_extractf32x8_ps(v.v, 1))); }

inline bool all_finite(Vec a, Vec b) {
    constexpr int kInfinityOrNaN = 0x99;
    return !(_mm512_fpclass_ps_mask(a.v, kInfinityOrNaN) | _mm512_fpclass_ps_mask(b.v, kInfinityOrNaN));
}

inline Vec load(const Half* p) { return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))}; }
inline void store(Half* p, Vec a) {
    a = max(broadcast(-65504.0f), min(broadcast(65504.0f), a));  // clamped: a key out of float16's range must not become infinite
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}

using Quantised = int8_t;
constexpr float kDotUnit = 1.0f;  // dot_block returns the dot products divided by kDotUnit

inline void store_quantised(Quantised* p, Vec a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a.v)));
}

inline __m512i broadcast_4xi8(const int8_t* p) {
    int32_t bits;
    std::memcpy(&bits, p, 4);
    return _mm512_set1_epi32(bits);
}

// Exact dot products of a block with M rows of 32 bytes. VNNI multiplies unsigned by signed bytes: 128 is added to the weights (by
// flipping the top bit), and the sums start at -128 times the sum of x to compensate.
template <int M>
inline void dot_block(const Int8Block& block, const int8_t* x, size_t stride, const int32_t* x_sums, size_t sum_stride,
                      Vec (&dots)[M]) {
    const __m512i flip = _mm512_set1_epi8(-128);
    __m512i sums[M];
    for (int m = 0; m < M; m++) sums[m] = _mm512_set1_epi32(-128 * x_sums[m * sum_stride]);
    for (int g = 0; g < kBlock / 4; g++) {
        const __m512i w = _mm512_xor_si512(_mm512_loadu_si512(block.values[g]), flip);
        for (int m = 0; m < M; m++) sums[m] = _mm512_dpbusd_epi32(sums[m], w, broadcast_4xi8(x + m * stride + 4 * g));
    }
    for (int m = 0; m < M; m++) dots[m] = {_mm512_cvtepi32_ps(sums[m])};
}

}  // namespace
}  // namespace cutaway
