// The int8 format, with a scale per block of 32 inputs: [panel][block] Int8Block. Stored arrays: int8 values, float16 block
// scales, float32 input scales.

namespace cutaway {
namespace {

size_t int8_panel_bytes(int depth) { return divide_up(depth, kBlock) * sizeof(Int8Block); }

Int8Block* int8_panel(const PackedMatrix& matrix, int panel) {
    return reinterpret_cast<Int8Block*>(matrix.panels + panel * int8_panel_bytes(matrix.depth));
}

// Pack a whole block of a matrix stored as (out, in), four bytes at a time.
inline void pack_rows(Int8Block& block, const int8_t* from, ptrdiff_t output_stride) {
    for (int i = 0; i < kLanes; i++)
        for (int g = 0; g < kBlock / 4; g++) std::memcpy(block.values[g][i], from + i * output_stride + 4 * g, 4);
}

// The same for a matrix stored as (in, out).
inline void pack_columns(Int8Block& block, const int8_t* from, ptrdiff_t depth_stride) {
    for (int g = 0; g < kBlock / 4; g++)
        for (int i = 0; i < kLanes; i++) {
            const uint8_t* k = reinterpret_cast<const uint8_t*>(from) + 4 * g * depth_stride + i;
            // Little-endian, as checkpoints are and every supported processor is.
            const uint32_t four = k[0] | k[depth_stride] << 8 | k[2 * depth_stride] << 16 | uint32_t(k[3 * depth_stride]) << 24;
            std::memcpy(block.values[g][i], &four, 4);
        }
}

// Pack an incomplete block, at the edge of a matrix.
inline void pack_part(Int8Block& block, int outputs, int depth, const int8_t* from, ptrdiff_t output_stride,
                      ptrdiff_t depth_stride) {
    for (int k = 0; k < depth; k++)
        for (int i = 0; i < outputs; i++) block.values[k / 4][i][k % 4] = from[i * output_stride + k * depth_stride];
}

void pack_block(const StoredArray& from, const StoredArray& scales, const PackedMatrix& to, int panel, int b) {
    Int8Block& block = int8_panel(to, panel)[b];
    const int first = panel * kLanes;
    const int k = b * kBlock;
    const int outputs = to.outputs - first < kLanes ? to.outputs - first : kLanes;
    const int depth = to.depth - k < kBlock ? to.depth - k : kBlock;
    const bool whole = outputs == kLanes && depth == kBlock;
    const int8_t* values = static_cast<const int8_t*>(from.data) + first * from.output_stride + k * from.depth_stride;
    if (whole && from.depth_stride == 1) pack_rows(block, values, from.output_stride);
    else if (whole && from.output_stride == 1) pack_columns(block, values, from.depth_stride);
    else pack_part(block, outputs, depth, values, from.output_stride, from.depth_stride);
    const Half* scale = static_cast<const Half*>(scales.data) + first * scales.output_stride + b * scales.depth_stride;
    for (int i = 0; i < outputs; i++) block.scales[i] = scale[i * scales.output_stride];
}

void pack_int8(const StoredArray* arrays, const PackedMatrix& to, PanelRange range) {
    for (int panel = range.begin; panel < range.end; panel++)
        for (int b = 0; b < int(divide_up(to.depth, kBlock)); b++) pack_block(arrays[0], arrays[1], to, panel, b);
}

void dequantise_int8_row(const PackedMatrix& matrix, int output, float* row) {
    const Int8Block* blocks = int8_panel(matrix, output / kLanes);
    const int lane = output % kLanes;
    float scales[kLanes];
    for (int k = 0; k < matrix.depth; k++) {
        const Int8Block& block = blocks[k / kBlock];
        if (k % kBlock == 0) store(scales, load(block.scales));
        row[k] = block.values[k % kBlock / 4][lane][k % 4] * scales[lane] * matrix.input_scales[k];
    }
}

// Multiply M rows by one panel: exact integer dot products within a block, a float32 sum over the blocks.
template <int M>
inline void int8_tile(const Int8Block* blocks, int count, QuantisedRows x, int row, int panel, const Outputs& to) {
    const size_t per_row = x.stride / kBlock;
    Dots<M> dots(blocks, count, x);
    Vec sums[M][1];
    clear(sums);
    for (int b = 0; b < count; b++) {
        dots.compute(b);
        const Vec weight_scales = load(blocks[b].scales);
        for (int m = 0; m < M; m++) sums[m][0] = fma(dots[m], weight_scales * broadcast(x.scales[m * per_row + b]), sums[m][0]);
    }
    Vec results[M][1];  // a copy: the sums stay in registers only if all their indices are constants
    unrolled<M>([&](auto m) { results[m.value][0] = sums[m.value][0]; });
    apply_epilogue(to, row, panel, results);
}

void multiply_int8(const PackedMatrix& matrix, PanelRange range, QuantisedRows x, int rows, const Outputs& to) {
    const int count = int(divide_up(matrix.depth, kBlock));
    for (int row = 0; row < rows; row += kDotRows) {
        const QuantisedRows tile = skip_rows(x, row);
        with_count<kDotRows>(rows - row, [&](auto m) {
            constexpr int M = decltype(m)::value;
            [[maybe_unused]] const typename Dots<M>::Setup setup;
            for (int panel = range.begin; panel < range.end; panel++)
                int8_tile<M>(int8_panel(matrix, panel), count, tile, row, panel, to);
        });
    }
}

void dequantise_panel(const Int8Block* blocks, const float* input_scales, int depth, float* panel) {
    for (int k = 0; k < depth; k++) {
        const Int8Block& block = blocks[k / kBlock];
        const int within = k % kBlock;
        float lane[kLanes];
        for (int i = 0; i < kLanes; i++) lane[i] = block.values[within / 4][i][within % 4];
        store(panel + size_t(k) * kLanes, load(lane) * load(block.scales) * broadcast(input_scales[k]));
    }
}

void multiply_int8_exact(const PackedMatrix& matrix, PanelRange range, FloatRows x, int rows, const Outputs& to, float* scratch) {
    for (int panel = range.begin; panel < range.end; panel++) {
        dequantise_panel(int8_panel(matrix, panel), matrix.input_scales, matrix.depth, scratch);
        Outputs panel_out = to;
        panel_out.data += size_t(panel) * kLanes;
        panel_out.width -= panel * kLanes;
        if (panel_out.bias) panel_out.bias += size_t(panel) * kLanes;
        linear_float(scratch, matrix.depth, {0, 1}, x, rows, panel_out);
    }
}

constexpr Format kInt8 = {"int8", 2, int8_panel_bytes, pack_int8, dequantise_int8_row, multiply_int8, multiply_int8_exact};

}  // namespace
}  // namespace cutaway
