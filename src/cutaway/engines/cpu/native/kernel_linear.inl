// Linear layers, y = x W. Each tile of rows is multiplied by a range of panels small enough to stay in the cache, so weights are
// read from memory once for any number of rows.

namespace cutaway {
namespace {

// sums[m][p] += x[m] . panel p, adding `depth` terms in ascending order.
template <int M, int P, class Weight>
inline void multiply(const float* x, size_t x_stride, const Weight* panels, size_t panel_size, int depth, Vec (&sums)[M][P]) {
    for (int k = 0; k < depth; k++) {
        Vec w[P];
        for (int p = 0; p < P; p++) w[p] = load(panels + p * panel_size + size_t(k) * kLanes);
        for (int m = 0; m < M; m++) {
            const Vec xk = broadcast(x[m * x_stride + k]);
            for (int p = 0; p < P; p++) sums[m][p] = fma(xk, w[p], sums[m][p]);
        }
    }
}

template <int M, int P>
inline void clear(Vec (&sums)[M][P]) {
    unrolled<M * P>([&](auto i) { sums[i.value / P][i.value % P] = broadcast(0.0f); });
}

// Add the bias, apply the epilogue and store one vector of outputs: row `row`, panel `panel`.
inline void apply_epilogue(const Outputs& to, int row, int panel, Vec v) {
    float* y = to.data + row * to.stride + size_t(panel) * kLanes;
    if (to.bias) v = v + load(to.bias + size_t(panel) * kLanes);
    if (to.epilogue == Epilogue::kAdd) v = load(y) + v;
    if (to.epilogue == Epilogue::kGeluNew) v = gelu_new(v);
    if (to.epilogue > Epilogue::kGeluNew) v = activate(to.epilogue, v);
    if ((panel + 1) * kLanes <= to.width) return store(y, v);
    float lane[kLanes];
    store(lane, v);
    for (int i = 0; panel * kLanes + i < to.width; i++) y[i] = lane[i];
}

template <int M, int P>
inline void apply_epilogue(const Outputs& to, int row, int panel, const Vec (&sums)[M][P]) {
    for (int m = 0; m < M; m++)
        for (int p = 0; p < P; p++) apply_epilogue(to, row + m, panel + p, sums[m][p]);
}

// Multiply M rows by a range of panels, P at a time and the remaining ones one by one.
template <int M, int P>
inline void float_tile(const float* panels, int depth, PanelRange range, FloatRows x, int row, const Outputs& to) {
    const size_t panel_size = size_t(depth) * kLanes;
    int panel = range.begin;
    for (; panel + P <= range.end; panel += P) {
        Vec sums[M][P];
        clear(sums);
        multiply(x.data + row * x.stride, x.stride, panels + panel * panel_size, panel_size, depth, sums);
        apply_epilogue(to, row, panel, sums);
    }
    if constexpr (P > 1) {
        if (panel < range.end) float_tile<M, 1>(panels, depth, {panel, range.end}, x, row, to);
    }
}

inline void linear_float(const float* panels, int depth, PanelRange range, FloatRows x, int rows, const Outputs& to) {
    for (int row = 0; row < rows; row += kFloatRows) {
        with_count<kFloatRows>(rows - row, [&](auto count) {
            constexpr int M = decltype(count)::value;
            float_tile<M, panels_at_once(M)>(panels, depth, range, x, row, to);
        });
    }
}

}  // namespace
}  // namespace cutaway
