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

// Call f(Count<0>) to f(Count<N - 1>).
template <int N, class F>
__attribute__((always_inline)) inline void unrolled(const F& f) {
    if constexpr (N > 0) {
        unrolled<N - 1>(f);
        f(Count<N - 1>{});
    }
}

// Call f(Count<min(n, Max)>), so that the compiler can unroll loops over a row count known at run time.
template <int Max, class F>
inline void with_count(int n, const F& f) {
    if constexpr (Max > 1) {
        if (n < Max) return with_count<Max - 1>(n, f);
    }
    f(Count<Max>{});
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
inline Vec gelu_new(Vec x) {
    const Vec minus_2u = x * fma(x * x, broadcast(-2.0f * 0.7978845608f * 0.044715f), broadcast(-2.0f * 0.7978845608f));
    return x / (broadcast(1.0f) + exp(minus_2u));
}

// The complementary error function of x >= 0, with a relative error of about 1.2e-7 (the Chebyshev fit of Numerical Recipes' erfcc).
inline Vec erfc(Vec x) {
    constexpr float kFit[] = {-0.82215223f, 1.48851587f, -1.13520398f, 0.27886807f, -0.18628806f,
                              0.09678418f,  0.37409196f, 1.00002368f,  -1.26551223f};
    const Vec t = broadcast(1.0f) / fma(broadcast(0.5f), x, broadcast(1.0f));
    Vec p = broadcast(0.17087277f);
    for (const float coefficient : kFit) p = fma(p, t, broadcast(coefficient));
    return t * exp(p - x * x);
}

// The exact GELU: x times the normal distribution function of x.
inline Vec gelu(Vec x) {
    const Vec tail = broadcast(0.5f) * erfc(abs(x) * broadcast(0.70710678118f));
    return max(broadcast(0.0f), x) - abs(x) * tail;
}

inline Vec silu(Vec x) { return x / (broadcast(1.0f) + exp(broadcast(0.0f) - x)); }

// Near 0, use the polynomial of Cephes' tanhf: 1 - 2 / (1 + e^(2x)) would lose most digits of a small x.
inline Vec tanh(Vec x) {
    const Vec far = broadcast(1.0f) - broadcast(2.0f) / (broadcast(1.0f) + exp(x + x));
    const Vec s = x * x;
    Vec p = broadcast(-5.70498872745e-3f);
    p = fma(p, s, broadcast(2.06390887954e-2f));
    p = fma(p, s, broadcast(-5.37397155531e-2f));
    p = fma(p, s, broadcast(1.33314422036e-1f));
    p = fma(p, s, broadcast(-3.33332819422e-1f));
    const Vec near = fma(p * s, x, x);
    const Vec near_or_zero = near - zero_below(abs(x), 0.625f, near);
    return zero_below(abs(x), 0.625f, far) + near_or_zero;
}

// Activations other than GPT-2's. Not inlined, to keep GPT-2's own path short.
__attribute__((noinline)) Vec activate(Epilogue function, Vec x) {
    switch (function) {
        case Epilogue::kGelu: return gelu(x);
        case Epilogue::kRelu: return max(broadcast(0.0f), x);
        case Epilogue::kSilu: return silu(x);
        case Epilogue::kTanh: return tanh(x);
        default: return x;
    }
}

}  // namespace
}  // namespace cutaway
