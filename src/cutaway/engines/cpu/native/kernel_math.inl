// Vector functions that all kernels use. This file and the other kernel_*.inl are compiled once per instruction set, after its
// simd_*.h. Everything is in an unnamed namespace: otherwise the linker could merge copies, and code with newer instructions would
// run on older processors.

namespace cutaway {
namespace {

// A compile-time row count, passed as a value.
template <int N>
struct Count {
    static constexpr int value = N;
};

// Call f(Count<min(n, Max)>), so that the compiler can unroll loops over a row count known at run time.
template <int Max, class F>
inline void with_count(int n, const F& f) {
    if constexpr (Max > 1) {
        if (n < Max) return with_count<Max - 1>(n, f);
    }
    f(Count<Max>{});
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

// e**x with a relative error of about 1e-7 (the polynomial of Cephes' expf); 0 below -87, e**88 above 88, NaN for NaN.
inline Vec exp(Vec x) {
    const Vec bounded = max(broadcast(-87.0f), min(broadcast(88.0f), x));
    const Vec n = round(bounded * broadcast(1.44269504088896341f));
    const Vec r = fma(n, broadcast(2.12194440e-4f), fma(n, broadcast(-0.693359375f), bounded));  // x - n ln 2, ln 2 in two parts
    Vec p = broadcast(1.9875691500e-4f);
    p = fma(p, r, broadcast(1.3981999507e-3f));
    p = fma(p, r, broadcast(8.3334519073e-3f));
    p = fma(p, r, broadcast(4.1665795894e-2f));
    p = fma(p, r, broadcast(1.6666665459e-1f));
    p = fma(p, r, broadcast(5.0000001201e-1f));
    p = fma(p, r * r, r + broadcast(1.0f));
    return zero_below(x, -87.0f, times_power_of_two(p, n));
}

// GPT-2's GELU, x/2 (1 + tanh u) with u = sqrt(2/pi) (x + 0.044715 x^3), written as x / (1 + e^(-2u)).
inline Vec gelu(Vec x) {
    const Vec minus_2u = x * fma(x * x, broadcast(-2.0f * 0.7978845608f * 0.044715f), broadcast(-2.0f * 0.7978845608f));
    return x / (broadcast(1.0f) + exp(minus_2u));
}

}  // namespace
}  // namespace cutaway
