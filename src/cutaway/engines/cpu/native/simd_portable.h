// Sixteen floats in portable C++: four 128-bit vectors by the compiler's vector extensions, on SSE2, NEON and others.

#pragma once

#include <cstring>

#include "panels.h"

namespace cutaway {
namespace {

constexpr int kFloatRows = 2;  // rows of a tile of float32 outputs: their sums fit sixteen 128-bit registers
constexpr int kInt8Rows = 4;
constexpr int panels_at_once(int) { return 1; }

using Quad = float __attribute__((vector_size(16)));
using QuadInt = int32_t __attribute__((vector_size(16)));

struct Vec {
    Quad q[4];
};

template <class F>
inline Vec each(F f) {
    Vec v;
    for (int i = 0; i < 4; i++) v.q[i] = f(i);
    return v;
}

inline Vec broadcast(float x) {
    return each([=](int) { return Quad{x, x, x, x}; });
}

inline Vec load(const float* p) {
    Vec v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

inline void store(float* p, Vec v) { std::memcpy(p, &v, sizeof v); }

inline Vec operator+(Vec a, Vec b) {
    return each([&](int i) { return a.q[i] + b.q[i]; });
}
inline Vec operator-(Vec a, Vec b) {
    return each([&](int i) { return a.q[i] - b.q[i]; });
}
inline Vec operator*(Vec a, Vec b) {
    return each([&](int i) { return a.q[i] * b.q[i]; });
}
inline Vec operator/(Vec a, Vec b) {
    return each([&](int i) { return a.q[i] / b.q[i]; });
}
// Not fused: without the instruction a fused multiply-add is a slow library call.
inline Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }

// max and min return the second operand if either is NaN.
inline Vec max(Vec a, Vec b) {
    return each([&](int i) { return a.q[i] > b.q[i] ? a.q[i] : b.q[i]; });
}
inline Vec min(Vec a, Vec b) {
    return each([&](int i) { return a.q[i] < b.q[i] ? a.q[i] : b.q[i]; });
}
inline Vec abs(Vec a) {
    return each([&](int i) { return (Quad)((QuadInt)a.q[i] & 0x7fffffff); });
}

// 0 where x < limit, else v, also where x is NaN.
inline Vec zero_below(Vec x, float limit, Vec v) {
    return each([&](int i) { return (Quad)((QuadInt)v.q[i] & ~(x.q[i] < limit)); });
}

// Round to the nearest integer, ties to even, for |x| < 2**22: near 1.5 * 2**23 a float has no fraction bits.
inline Vec round(Vec x) {
    const Vec magic = broadcast(12582912.0f);
    return (x + magic) - magic;
}

// v * 2**n for integer n; the result must be a normal number.
inline Vec times_power_of_two(Vec v, Vec n) {
    return each([&](int i) { return (Quad)((QuadInt)v.q[i] + (__builtin_convertvector(n.q[i], QuadInt) << 23)); });
}

// Sum over the lanes, always in the same order.
inline float sum_of_lanes(Vec v) {
    float lane[kLanes];
    store(lane, v);
    for (int width = kLanes / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++) lane[i] += lane[i + width];
    return lane[0];
}

inline float max_of_lanes(Vec v) {
    float lane[kLanes];
    store(lane, v);
    for (int width = kLanes / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++) lane[i] = lane[i] > lane[i + width] ? lane[i] : lane[i + width];
    return lane[0];
}

inline bool all_finite(Vec a, Vec b) { return sum_of_lanes((a - a) + (b - b)) == 0.0f; }  // or it is NaN

constexpr uint16_t kHalfNaN = 0x7fff;  // of the NaNs only this one is stored, and infinity never

inline Vec load(const Half* p) {
    // With exponent and mantissa shifted into place the value is 2**112 times too small, subnormal numbers included.
    return each([=](int i) {
        const Half* h = p + 4 * i;
        const QuadInt bits = {h[0].bits, h[1].bits, h[2].bits, h[3].bits};
        const QuadInt shifted = ((bits << 16) >> 3) & int32_t(0x8fffffff);  // the copies of the sign bit are cleared
        return (Quad)((QuadInt)((Quad)shifted * 0x1p112f) | (bits == kHalfNaN));  // all bits set are a NaN
    });
}

inline Half half_of(float x) {
    if (x != x) return Half{kHalfNaN};
    x = x > 65504.0f ? 65504.0f : x < -65504.0f ? -65504.0f : x;
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    const uint32_t sign = bits & 0x80000000u;
    bits ^= sign;
    if (bits < 0x38800000u) {  // subnormal as float16: adding 0.5 rounds to the right bit
        float f;
        std::memcpy(&f, &bits, 4);
        f += 0.5f;
        std::memcpy(&bits, &f, 4);
        bits -= 0x3f000000u;
    } else {
        bits = (bits + 0xc8000fffu + ((bits >> 13) & 1)) >> 13;
    }
    return Half{static_cast<uint16_t>(bits | sign >> 16)};
}

inline void store(Half* p, Vec v) {
    for (int i = 0; i < 16; i++) p[i] = half_of(v.q[i / 4][i % 4]);
}

// Quantised activations are int16 here, each four (k0 k1 k2 k3) in the order k0 k2 k1 k3: see dot_block.
using Quantised = int16_t;
constexpr float kDotUnit = 1.0f;  // dot_block returns the dot products divided by kDotUnit

inline void store_quantised(Quantised* p, Vec rounded) {
    for (int i = 0; i < 4; i++, p += 4) {
        const QuadInt x = __builtin_convertvector(rounded.q[i], QuadInt);
        p[0] = int16_t(x[0]);
        p[1] = int16_t(x[2]);
        p[2] = int16_t(x[1]);
        p[3] = int16_t(x[3]);
    }
}

using Shorts = int16_t __attribute__((vector_size(16)));

inline Shorts broadcast_2xi16(const Quantised* p) {
    int32_t bits;
    std::memcpy(&bits, p, 4);
    return (Shorts)QuadInt{bits, bits, bits, bits};
}

// Exact dot products of a block with M rows, four outputs at a time. Shifts widen the bytes (k0 k1 k2 k3) of an output to
// (k0, k2) and (k1, k3) in 16 bits, which hold the sum of two products: 2 * 127 * 127 < 2**15.
template <int M>
inline void dot_block(const Int8Block& block, const Quantised* x, size_t stride, const int32_t*, size_t, Vec (&dots)[M]) {
    for (int i = 0; i < 4; i++) {
        QuadInt sums[M] = {};
        for (int g = 0; g < kBlock / 4; g++) {
            Shorts w;
            std::memcpy(&w, block.values[g][4 * i], sizeof w);
            const Shorts even = (w << 8) >> 8;
            const Shorts odd = w >> 8;
            for (int m = 0; m < M; m++) {
                const Quantised* four = x + m * stride + 4 * g;
                const QuadInt both = (QuadInt)(even * broadcast_2xi16(four) + odd * broadcast_2xi16(four + 2));
                sums[m] += ((both << 16) >> 16) + (both >> 16);
            }
        }
        for (int m = 0; m < M; m++) dots[m].q[i] = __builtin_convertvector(sums[m], Quad);
    }
}

}  // namespace
}  // namespace cutaway
