// Layer norm and quantisation of one row of activations.

namespace cutaway {
namespace {

// 1 in the first n lanes, else 0.
inline Vec first_lanes(int n) {
    float lane[kLanes];
    for (int i = 0; i < kLanes; i++) lane[i] = i < n ? 1.0f : 0.0f;
    return load(lane);
}

void layer_norm(const float* x, const float* gain, const float* bias, int width, float epsilon, float* y) {
    Vec sum = broadcast(0.0f);
    for (int i = 0; i < width; i += kLanes) sum = sum + load(x + i);  // the padding is 0
    const Vec mean = broadcast(sum_of_lanes(sum) / float(width));
    Vec squares = broadcast(0.0f);
    for (int i = 0; i < width; i += kLanes) {
        Vec d = load(x + i) - mean;
        if (i + kLanes > width) d = d * first_lanes(width - i);
        squares = fma(d, d, squares);
    }
    const Vec inverse = broadcast(1.0f / __builtin_sqrtf(sum_of_lanes(squares) / float(width) + epsilon));
    for (int i = 0; i < width; i += kLanes) store(y + i, fma((load(x + i) - mean) * inverse, load(gain + i), load(bias + i)));
    for (int i = width; i % kLanes; i++) y[i] = 0.0f;  // NaN times a padded gain of 0 would be NaN
}

// The same rows without the first `rows`.
inline QuantisedRows skip_rows(QuantisedRows x, int rows) {
    const size_t values = rows * x.stride;
    const size_t blocks = values / kBlock;
    return {static_cast<Quantised*>(x.values) + values, x.scales + blocks, x.sums + blocks, x.stride};
}

constexpr float kSmallest = 4e-37f;  // 127 / x is finite down to here; a block of smaller numbers becomes 0

void quantise(const float* x, const float* input_scales, QuantisedRows to, int row) {
    to = skip_rows(to, row);
    Quantised* values = static_cast<Quantised*>(to.values);
    for (size_t b = 0; b < to.stride / kBlock; b++, x += kBlock, input_scales += kBlock, values += kBlock) {
        const Vec lo = load(x) * load(input_scales);
        const Vec hi = load(x + kLanes) * load(input_scales + kLanes);
        if (!all_finite(lo, hi)) {
            store_quantised(values, broadcast(0.0f));
            store_quantised(values + kLanes, broadcast(0.0f));
            to.scales[b] = __builtin_nanf("");  // propagates NaN to the outputs
            to.sums[b] = 0;
            continue;
        }
        const float largest = max_of_lanes(max(abs(lo), abs(hi)));
        const Vec inverse = broadcast(largest > kSmallest ? 127.0f / largest : 0.0f);
        const Vec lo_rounded = round(lo * inverse);
        const Vec hi_rounded = round(hi * inverse);
        store_quantised(values, lo_rounded);
        store_quantised(values + kLanes, hi_rounded);
        to.scales[b] = largest / 127.0f * kDotUnit;  // dot_block divides its results by kDotUnit
        to.sums[b] = int32_t(sum_of_lanes(lo_rounded + hi_rounded));
    }
}

}  // namespace
}  // namespace cutaway
