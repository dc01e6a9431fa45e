// The weights of a GPT-2, packed, and the pool that works on them.

#pragma once

#include <mutex>
#include <vector>

#include "kernels.h"
#include "memory.h"
#include "threads.h"

namespace cutaway {

struct Shape {
    int n_vocab, n_ctx, n_embd, n_head, n_layer, n_inner;
    float epsilon;
    bool tied;

    int d_head() const { return n_embd / n_head; }
};

// The weights of a linear layer in panels, as float32 or as int8: one of the two is there.
struct Matrix {
    int outputs = 0, depth = 0;
    float* floats = nullptr;
    Int8Block* blocks = nullptr;
    float* columns = nullptr;  // int8 only: what activations are multiplied by; zero-padded to whole blocks

    Matrix(int outputs, int depth) : outputs(outputs), depth(depth) {}
    int panels() const { return int(divide_up(outputs, kLanes)); }
    int blocks_per_panel() const { return int(divide_up(depth, kBlock)); }
    size_t panel_bytes() const { return blocks ? blocks_per_panel() * sizeof(Int8Block) : depth * kLanes * sizeof(float); }
};

using Vector = float*;  // zero-padded to whole blocks

struct Layer {
    Vector ln_1_gain = nullptr, ln_1_bias = nullptr, ln_2_gain = nullptr, ln_2_bias = nullptr;
    Matrix c_attn, attn_proj, c_fc, mlp_proj;
    Vector c_attn_bias = nullptr, attn_proj_bias = nullptr, c_fc_bias = nullptr, mlp_proj_bias = nullptr;

    explicit Layer(const Shape&);
};

// What one forward pass works in; kept between passes.
struct Workspace {
    int tokens = 0;
    size_t positions = 0;
    Buffer<float> x, normed, qkv, hidden;                  // (tokens, width)
    Buffer<char> quantised;                                // (tokens, widest) of kQuantisedBytes
    Buffer<float> quantised_scales;                        // (tokens, widest / kBlock)
    Buffer<int32_t> quantised_sums;                        // (tokens, widest / kBlock)
    std::vector<Buffer<float>> scores;                     // a thread: (kMaxTileRows, positions)
    std::vector<Buffer<float>> panels;                     // a thread: one de-quantised panel
};

struct Model {
    const Shape shape;
    const Kernels& kernels;
    ThreadPool pool;
    std::mutex busy;  // one forward pass or load at a time

    Arena arena;
    Matrix wte, lm_head;   // lm_head is empty where it is tied to wte
    Vector wpe = nullptr;  // (n_ctx, padded n_embd)
    std::vector<Layer> layers;
    Vector ln_f_gain = nullptr, ln_f_bias = nullptr;
    Workspace workspace;

    Model(const Shape&, const Kernels&, int threads);
    const Matrix& head() const { return shape.tied ? wte : lm_head; }
};

// A tensor as it comes from a checkpoint, with strides in elements. `slot` counts the tensors in the order of
// `GPT2Config.tensor_shapes()`.
struct FloatTensor {
    const float* data;
    ptrdiff_t output_stride, depth_stride;  // of a vector, only depth_stride
};
struct Int8Tensor {
    const int8_t* values;
    ptrdiff_t output_stride, depth_stride;
    const Half* scales;
    ptrdiff_t scale_output_stride, scale_block_stride;
    const float* columns;
};
void load_float(Model&, int slot, const FloatTensor&);
void load_int8(Model&, int slot, const Int8Tensor&);

// Row `token` of wte as float32.
void embedding(const Matrix& wte, int token, float* out);

}  // namespace cutaway
