#include "model.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace cutaway {
namespace {

constexpr int kPanelsPerChunk = 8;  // adjacent panels share the cache lines of a matrix stored as (in, out)

void load_matrix(Model& model, Matrix& to, const Format& format, const StoredArray* arrays) {
    to.format = &format;
    to.panels = model.arena.allocate<char>(to.panel_count() * to.panel_bytes());
    if (format.input_scales >= 0) {
        to.input_scales = model.arena.allocate<float>(padded(to.depth));
        std::memcpy(to.input_scales, arrays[format.input_scales].data, to.depth * sizeof(float));
    }
    if (format.multiply) model.quantises_activations = true;
    model.pool.parallel_for(int(divide_up(to.panel_count(), kPanelsPerChunk)), [&](int chunk, int) {
        const int first = chunk * kPanelsPerChunk;
        format.pack(arrays, to, {first, std::min(to.panel_count(), first + kPanelsPerChunk)});
    });
}

void load_rows(Model& model, const Parameter& to, const StoredArray& from) {
    const size_t stride = padded(to.width);
    *to.vector = model.arena.allocate<float>(to.rows * stride);
    for (int row = 0; row < to.rows; row++)
        std::memcpy(*to.vector + row * stride, static_cast<const float*>(from.data) + row * from.output_stride,
                    to.width * sizeof(float));
}

// The rows of each head, one under the other.
void load_heads(Model& model, std::vector<Matrix>& heads, const Format& format, StoredArray from) {
    for (Matrix& head : heads) {
        load_matrix(model, head, format, &from);
        from.data = static_cast<const float*>(from.data) + head.outputs * from.output_stride;
    }
}

}  // namespace

Layer::Layer(const Shape& s)
    : c_attn(3 * s.n_embd, s.n_embd), attn_proj(s.n_embd, s.n_embd), c_fc(s.n_inner, s.n_embd), mlp_proj(s.n_embd, s.n_inner),
      relative(s.relative_positions ? s.n_head : 0, Matrix(s.relative_positions, s.d_head())) {}

Model::Model(const Shape& s, const Kernels& k, int threads)
    : shape(s), kernels(k), pool(threads), wte(s.n_vocab, s.n_embd), lm_head(s.n_vocab, s.n_embd) {
    layers.reserve(s.n_layer);  // parameters point into it
    parameters = {
        {"wte.weight", {&wte}},
        {"lm_head.weight", {&lm_head}},
        {"wpe.weight", {nullptr, &wpe, s.n_embd, s.n_ctx}},
        {"ln_f.weight", {nullptr, &ln_f_gain, s.n_embd}},
        {"ln_f.bias", {nullptr, &ln_f_bias, s.n_embd}},
    };
    for (int i = 0; i < s.n_layer; i++) {
        Layer& layer = layers.emplace_back(s);
        const std::string block = "h." + std::to_string(i) + ".";
        parameters.insert({
            {block + "ln_1.weight", {nullptr, &layer.ln_1_gain, s.n_embd}},
            {block + "ln_1.bias", {nullptr, &layer.ln_1_bias, s.n_embd}},
            {block + "attn.c_attn.weight", {&layer.c_attn}},
            {block + "attn.c_attn.bias", {nullptr, &layer.c_attn_bias, 3 * s.n_embd}},
            {block + "attn.c_proj.weight", {&layer.attn_proj}},
            {block + "attn.c_proj.bias", {nullptr, &layer.attn_proj_bias, s.n_embd}},
            {block + "ln_2.weight", {nullptr, &layer.ln_2_gain, s.n_embd}},
            {block + "ln_2.bias", {nullptr, &layer.ln_2_bias, s.n_embd}},
            {block + "mlp.c_fc.weight", {&layer.c_fc}},
            {block + "mlp.c_fc.bias", {nullptr, &layer.c_fc_bias, s.n_inner}},
            {block + "mlp.c_proj.weight", {&layer.mlp_proj}},
            {block + "mlp.c_proj.bias", {nullptr, &layer.mlp_proj_bias, s.n_embd}},
        });
        if (s.relative_positions) parameters[block + "attn.relative.weight"].heads = &layer.relative;
    }
}

void load(Model& model, const char* name, const char* format_name, const StoredArray* arrays) {
    const auto found = model.parameters.find(name);
    const Format* format = find_format(model.kernels, format_name);
    if (found == model.parameters.end() || !format) throw std::invalid_argument(name);
    const Parameter& parameter = found->second;
    if (parameter.matrix) load_matrix(model, *parameter.matrix, *format, arrays);
    else if (parameter.heads) load_heads(model, *parameter.heads, *format, arrays[0]);
    else load_rows(model, parameter, arrays[0]);
}

}  // namespace cutaway
