// The float32 format: [panel][k][16].

namespace cutaway {
namespace {

size_t float32_panel_bytes(int depth) { return size_t(depth) * kLanes * sizeof(float); }

void pack_float32(const StoredArray* arrays, const PackedMatrix& to, PanelRange range) {
    const ptrdiff_t output_stride = arrays->output_stride;
    const ptrdiff_t depth_stride = arrays->depth_stride;
    for (int panel = range.begin; panel < range.end; panel++) {
        const int first = panel * kLanes;
        const int count = to.outputs - first < kLanes ? to.outputs - first : kLanes;
        const float* from = static_cast<const float*>(arrays->data) + first * output_stride;
        float* out = reinterpret_cast<float*>(to.panels + panel * float32_panel_bytes(to.depth));
        for (int k = 0; k < to.depth; k++)
            for (int i = 0; i < count; i++) out[size_t(k) * kLanes + i] = from[i * output_stride + k * depth_stride];
    }
}

void dequantise_float32_row(const PackedMatrix& matrix, int output, float* row) {
    const char* panel = matrix.panels + output / kLanes * float32_panel_bytes(matrix.depth);
    const float* weights = reinterpret_cast<const float*>(panel) + output % kLanes;
    for (int k = 0; k < matrix.depth; k++) row[k] = weights[size_t(k) * kLanes];
}

void multiply_float32(const PackedMatrix& matrix, PanelRange range, FloatRows x, int rows, const Outputs& to, float*) {
    linear_float(reinterpret_cast<const float*>(matrix.panels), matrix.depth, range, x, rows, to);
}

constexpr Format kFloat32 = {"float32", -1, float32_panel_bytes, pack_float32, dequantise_float32_row, nullptr, multiply_float32};

}  // namespace
}  // namespace cutaway
