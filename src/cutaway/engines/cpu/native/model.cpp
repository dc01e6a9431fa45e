#include "model.h"

#include <algorithm>
#include <cstring>

namespace cutaway {
namespace {

size_t padded(int width) { return round_up(width, kBlock); }

// The tensors of a layer in the checkpoint's order.
struct Slot {
    Matrix* matrix = nullptr;
    Vector* vector = nullptr;
    int width = 0;  // of a vector, or of a row of wpe
    int rows = 1;
};

Slot slot_in_layer(Layer& layer, const Shape& shape, int index) {
    const int d = shape.n_embd, inner = shape.n_inner;
    switch (index) {
        case 0: return {nullptr, &layer.ln_1_gain, d};
        case 1: return {nullptr, &layer.ln_1_bias, d};
        case 2: return {&layer.c_attn};
        case 3: return {nullptr, &layer.c_attn_bias, 3 * d};
        case 4: return {&layer.attn_proj};
        case 5: return {nullptr, &layer.attn_proj_bias, d};
        case 6: return {nullptr, &layer.ln_2_gain, d};
        case 7: return {nullptr, &layer.ln_2_bias, d};
        case 8: return {&layer.c_fc};
        case 9: return {nullptr, &layer.c_fc_bias, inner};
        case 10: return {&layer.mlp_proj};
        default: return {nullptr, &layer.mlp_proj_bias, d};
    }
}

constexpr int kLayerSlots = 12;

Slot find_slot(Model& model, int index) {
    const Shape& shape = model.shape;
    if (index == 0) return {&model.wte};
    if (index == 1) return {nullptr, &model.wpe, shape.n_embd, shape.n_ctx};
    index -= 2;
    if (index < kLayerSlots * shape.n_layer)
        return slot_in_layer(model.layers[index / kLayerSlots], shape, index % kLayerSlots);
    index -= kLayerSlots * shape.n_layer;
    if (index == 0) return {nullptr, &model.ln_f_gain, shape.n_embd};
    if (index == 1) return {nullptr, &model.ln_f_bias, shape.n_embd};
    return {&model.lm_head};
}

void pack_panel(Matrix& to, const FloatTensor& from, int panel) {
    float* out = to.floats + size_t(panel) * to.depth * kLanes;
    const int first = panel * kLanes, count = std::min(kLanes, to.outputs - first);
    for (int k = 0; k < to.depth; k++)
        for (int i = 0; i < count; i++)
            out[size_t(k) * kLanes + i] = from.data[(first + i) * from.output_stride + k * from.depth_stride];
}

// Inlined for each layout with its unit stride as a constant, which lets the compiler move four bytes at once.
inline void pack_values(Int8Block& out, int outputs, int depth, const int8_t* from, ptrdiff_t output_stride,
                        ptrdiff_t depth_stride) {
    for (int k = 0; k < depth; k += 4)
        for (int i = 0; i < outputs; i++)
            for (int j = 0; j < std::min(4, depth - k); j++)
                out.values[k / 4][i][j] = from[i * output_stride + (k + j) * depth_stride];
}

void pack_panel(Matrix& to, const Int8Tensor& from, int panel) {
    const int first = panel * kLanes, outputs = std::min(kLanes, to.outputs - first);
    for (int b = 0; b < to.blocks_per_panel(); b++) {
        Int8Block& out = to.blocks[size_t(panel) * to.blocks_per_panel() + b];
        const int depth = std::min(kBlock, to.depth - b * kBlock);
        const int8_t* values = from.values + first * from.output_stride + b * kBlock * from.depth_stride;
        if (from.depth_stride == 1 && depth == kBlock) pack_values(out, outputs, kBlock, values, from.output_stride, 1);
        else if (from.output_stride == 1 && depth == kBlock) pack_values(out, outputs, kBlock, values, 1, from.depth_stride);
        else pack_values(out, outputs, depth, values, from.output_stride, from.depth_stride);
        for (int i = 0; i < outputs; i++)
            out.scales[i] = from.scales[(first + i) * from.scale_output_stride + b * from.scale_block_stride];
    }
}

template <class Tensor>
void pack(Model& model, Matrix& to, const Tensor& from) {
    model.pool.run(to.panels(), [&](int panel, int) { pack_panel(to, from, panel); });
}

}  // namespace

Layer::Layer(const Shape& s)
    : c_attn(3 * s.n_embd, s.n_embd), attn_proj(s.n_embd, s.n_embd), c_fc(s.n_inner, s.n_embd), mlp_proj(s.n_embd, s.n_inner) {}

Model::Model(const Shape& s, const Kernels& k, int threads)
    : shape(s), kernels(k), pool(threads), wte(s.n_vocab, s.n_embd), lm_head(s.n_vocab, s.n_embd) {
    layers.reserve(s.n_layer);
    for (int i = 0; i < s.n_layer; i++) layers.emplace_back(s);
}

void load_float(Model& model, int index, const FloatTensor& from) {
    const Slot slot = find_slot(model, index);
    if (slot.matrix) {
        slot.matrix->floats = model.arena.take<float>(size_t(slot.matrix->panels()) * slot.matrix->depth * kLanes);
        return pack(model, *slot.matrix, from);
    }
    *slot.vector = model.arena.take<float>(slot.rows * padded(slot.width));
    for (int row = 0; row < slot.rows; row++)
        std::memcpy(*slot.vector + row * padded(slot.width), from.data + row * from.output_stride, slot.width * sizeof(float));
}

void load_int8(Model& model, int index, const Int8Tensor& from) {
    Matrix& to = *find_slot(model, index).matrix;
    to.blocks = model.arena.take<Int8Block>(size_t(to.panels()) * to.blocks_per_panel());
    to.columns = model.arena.take<float>(padded(to.depth));
    std::memcpy(to.columns, from.columns, to.depth * sizeof(float));
    pack(model, to, from);
}

void embedding(const Matrix& wte, int token, float* out) {
    const size_t panel = token / kLanes, lane = token % kLanes;
    if (wte.floats) {
        const float* weights = wte.floats + panel * wte.depth * kLanes + lane;
        for (int k = 0; k < wte.depth; k++) out[k] = weights[size_t(k) * kLanes];
        return;
    }
    const Int8Block* blocks = wte.blocks + panel * wte.blocks_per_panel();
    for (int b = 0; b < wte.blocks_per_panel(); b++) {
        const float scale = to_float(blocks[b].scales[lane]);
        for (int k = b * kBlock; k < std::min(wte.depth, (b + 1) * kBlock); k++)
            out[k] = blocks[b].values[k % kBlock / 4][lane][k % 4] * scale * wte.columns[k];
    }
}

}  // namespace cutaway
