// The weights of a GPT-2, packed, and the pool that works on them.

#pragma once

#include <mutex>
#include <string>
#include <unordered_map>
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

// The weights of a linear layer, and the format that they are in.
struct Matrix : PackedMatrix {
    const Format* format = nullptr;

    Matrix(int outputs, int depth) : PackedMatrix{outputs, depth, nullptr, nullptr} {}
    int panel_count() const { return int(divide_up(outputs, kLanes)); }
    size_t panel_bytes() const { return format->panel_bytes(depth); }
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

// Where a tensor of the checkpoint goes: into a matrix, or into rows of float32, each zero-padded to whole blocks.
struct Parameter {
    Matrix* matrix = nullptr;
    Vector* vector = nullptr;
    int width = 0;
    int rows = 1;
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
    std::unordered_map<std::string, Parameter> parameters;  // by their names in a checkpoint
    bool quantises_activations = false;                     // for at least one of its matrices
    Workspace workspace;

    Model(const Shape&, const Kernels&, int threads);
    const Matrix& head() const { return shape.tied ? wte : lm_head; }
};

// Load a tensor from the arrays that a format stores it as, seen as (outputs, depth). Throws std::invalid_argument for an
// unknown name or format.
void load(Model&, const char* name, const char* format, const StoredArray* arrays);

}  // namespace cutaway
