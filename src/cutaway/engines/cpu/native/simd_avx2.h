// Sixteen floats as two AVX2 registers.

#pragma once

#include <immintrin.h>

#include <cstring>

#include "lanes_x86.h"
#include "panels.h"

namespace cutaway {
namespace {

// A tile of M rows x P panels needs 2 M P of the 16 registers for its sums. A single row takes four panels at once: with fewer
// independent sums the latency of the addition would limit the speed.
constexpr int kFloatRows = 6;
constexpr int kInt8Rows = 4;
constexpr int panels_at_once(int rows) { return rows == 1 ? 4 : rows <= 3 ? 2 : 1; }

struct Vec {
    __m256 lo, hi;
};

inline Vec broadcast(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline Vec load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void store(float* p, Vec v) {
    _mm256_storeu_ps(p, v.lo);
    _mm256_storeu_ps(p + 8, v.hi);
}

inline Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)}; }

// max and min return the second operand if either is NaN.
inline Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
inline Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
inline Vec abs(Vec a) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi)};
}

// 0 where x < limit, else v, also where x is NaN.
inline Vec zero_below(Vec x, float limit, Vec v) {
    const __m256 l = _mm256_set1_ps(limit);
    return {_mm256_and_ps(v.lo, _mm256_cmp_ps(x.lo, l, _CMP_NLT_UQ)), _mm256_and_ps(v.hi, _mm256_cmp_ps(x.hi, l, _CMP_NLT_UQ))};
}

// Round to the nearest integer, ties to even.
inline Vec round(Vec x) {
    return {_mm256_round_ps(x.lo, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
            _mm256_round_ps(x.hi, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}

// v * 2**n for integer n; the result must be a normal number.
inline __m256 times_power_of_two(__m256 v, __m256 n) {
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(v), _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23)));
}
inline Vec times_power_of_two(Vec v, Vec n) { return {times_power_of_two(v.lo, n.lo), times_power_of_two(v.hi, n.hi)}; }

// Sum over the lanes, always in the same order.
inline float sum_of_lanes(Vec v) { return sum_of_eight(_mm256_add_ps(v.lo, v.hi)); }
inline float max_of_lanes(Vec v) { return max_of_eight(_mm256_max_ps(v.lo, v.hi)); }

inline bool all_finite(Vec a, Vec b) {
    const Vec zeros = (a - a) + (b - b);  // NaN where one is infinite or NaN
    const __m256 sum = _mm256_add_ps(zeros.lo, zeros.hi);
    return _mm256_movemask_ps(_mm256_cmp_ps(sum, sum, _CMP_UNORD_Q)) == 0;
}

inline Vec load(const Half* p) {
    const __m128i* q = reinterpret_cast<const __m128i*>(p);
    return {_mm256_cvtph_ps(_mm_loadu_si128(q)), _mm256_cvtph_ps(_mm_loadu_si128(q + 1))};
}
inline void store(Half* p, Vec v) {
    v = max(broadcast(-65504.0f), min(broadcast(65504.0f), v));  // clamped: a key out of float16's range must not become infinite
    __m128i* q = reinterpret_cast<__m128i*>(p);
    _mm_storeu_si128(q, _mm256_cvtps_ph(v.lo, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128(q + 1, _mm256_cvtps_ph(v.hi, _MM_FROUND_TO_NEAREST_INT));
}

// Quantised activations are int16 here, each four (k0 k1 k2 k3) in the order k0 k2 k1 k3: see dot_block.
using Quantised = int16_t;
constexpr float kDotUnit = 1.0f / 256;  // dot_block returns the dot products divided by kDotUnit

inline void store_quantised(Quantised* p, Vec rounded) {
    const __m256i words = _mm256_packs_epi32(_mm256_cvtps_epi32(rounded.lo), _mm256_cvtps_epi32(rounded.hi));
    const __m256i ordered = _mm256_permute4x64_epi64(words, _MM_SHUFFLE(3, 1, 2, 0));
    const __m256i even_odd = _mm256_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15,  //
                                              0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_shuffle_epi8(ordered, even_odd));
}

inline __m256i broadcast_2xi16(const Quantised* p) {
    int32_t bits;
    std::memcpy(&bits, p, 4);
    return _mm256_set1_epi32(bits);
}

// Keep a sum in its register. Otherwise GCC reassociates the integer additions and spills the sums.
inline void pin_register(__m256i& sum) { __asm__("" : "+x"(sum)); }

// Exact dot products of a block with M rows, times 256.
//
// AVX2 multiplies unsigned by signed bytes only; moving the signs needs an instruction that competes for the multiplier ports, so
// products are 16-bit. A register of weights holds the bytes (k0 k1 k2 k3) of each output: shifted left by a byte it is
// 256 (k0, k2) in 16 bits, and with the low bytes cleared 256 (k1, k3).
template <int M>
inline void dot_block(const Int8Block& block, const Quantised* x, size_t stride, const int32_t*, size_t, Vec (&dots)[M]) {
    const __m256i high_bytes = _mm256_set1_epi16(-256);
    __m256i lo[M];
    __m256i hi[M];
    for (int m = 0; m < M; m++) {
        lo[m] = _mm256_setzero_si256();
        hi[m] = _mm256_setzero_si256();
    }
    for (int g = 0; g < kBlock / 4; g++) {
        const __m256i w_lo = _mm256_load_si256(reinterpret_cast<const __m256i*>(block.values[g][0]));
        const __m256i w_hi = _mm256_load_si256(reinterpret_cast<const __m256i*>(block.values[g][8]));
        const __m256i even_lo = _mm256_slli_epi16(w_lo, 8);
        const __m256i odd_lo = _mm256_and_si256(w_lo, high_bytes);
        const __m256i even_hi = _mm256_slli_epi16(w_hi, 8);
        const __m256i odd_hi = _mm256_and_si256(w_hi, high_bytes);
        for (int m = 0; m < M; m++) {
            const __m256i even = broadcast_2xi16(x + m * stride + 4 * g);
            const __m256i odd = broadcast_2xi16(x + m * stride + 4 * g + 2);
            lo[m] = _mm256_add_epi32(lo[m], _mm256_madd_epi16(even_lo, even));
            hi[m] = _mm256_add_epi32(hi[m], _mm256_madd_epi16(even_hi, even));
            lo[m] = _mm256_add_epi32(lo[m], _mm256_madd_epi16(odd_lo, odd));
            hi[m] = _mm256_add_epi32(hi[m], _mm256_madd_epi16(odd_hi, odd));
            pin_register(lo[m]);
            pin_register(hi[m]);
        }
    }
    for (int m = 0; m < M; m++) dots[m] = {_mm256_cvtepi32_ps(lo[m]), _mm256_cvtepi32_ps(hi[m])};
}

}  // namespace
}  // namespace cutaway
