// The packed weights of a GPT-2, and the thread pool that computes with them.

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
    int relative_positions;  // distances with an embedding; 0: none
    float epsilon;
    bool tied;
    Epilogue activation;  // of the MLP
    float score_divisor;  // divides q . k in the first layer
    bool divide_by_layer;  // the divisor is multiplied by the number of the layer, from 1

    int d_head() const { return n_embd / n_head; }
    float divisor(int layer) const { return divide_by_layer ? score_divisor * float(layer + 1) : score_divisor; }
};

// The packed weights of a linear layer, with their format.
struct Matrix : PackedMatrix {
    const Format* format = nullptr;

    Matrix(int outputs, int depth) : PackedMatrix{outputs, depth, nullptr, nullptr} {}
    int panel_count() const { return int(divide_up(outputs, kLanes)); }
    size_t panel_bytes() const { return format->panel_bytes(depth); }
};

using Vector = float*;  // zero-padded to whole blocks

struct Layer {
    Vector ln_1_gain = nullptr;
    Vector ln_1_bias = nullptr;
    Matrix c_attn;
    Vector c_attn_bias = nullptr;
    Matrix attn_proj;
    Vector attn_proj_bias = nullptr;
    Vector ln_2_gain = nullptr;
    Vector ln_2_bias = nullptr;
    Matrix c_fc;
    Vector c_fc_bias = nullptr;
    Matrix mlp_proj;
    Vector mlp_proj_bias = nullptr;
    std::vector<Matrix> relative;  // of each head: (relative_positions, d_head) float32; empty without

    explicit Layer(const Shape&);
};

// Buffers for the activations of a forward pass, reused by the next.
struct Workspace {
    int tokens = 0;
    size_t positions = 0;
    Buffer<float> x;                    // (tokens, n_embd), the residual stream
    Buffer<float> normed;               // (tokens, n_embd)
    Buffer<float> qkv;                  // (tokens, 3 n_embd)
    Buffer<float> hidden;               // (tokens, n_inner)
    Buffer<char> quantised;             // (tokens, widest) of kQuantisedBytes
    Buffer<float> quantised_scales;     // (tokens, widest / kBlock)
    Buffer<int32_t> quantised_sums;     // (tokens, widest / kBlock)
    std::vector<Buffer<float>> scores;  // per thread: (kMaxTileRows, positions); twice with relative positions
    std::vector<Buffer<float>> panels;  // per thread: one de-quantised panel, (widest, kLanes)
};

// The destination of a tensor of the checkpoint: a matrix, or float32 rows, each zero-padded to whole blocks, or one matrix a head.
struct Parameter {
    Matrix* matrix = nullptr;
    Vector* vector = nullptr;
    int width = 0;
    int rows = 1;
    std::vector<Matrix>* heads = nullptr;
};

struct Model {
    const Shape shape;
    const Kernels& kernels;
    ThreadPool pool;
    std::mutex mutex;  // held by a forward pass or a load

    Arena arena;
    Matrix wte;
    Matrix lm_head;        // empty if tied to wte
    Vector wpe = nullptr;  // (n_ctx, padded n_embd)
    std::vector<Layer> layers;
    Vector ln_f_gain = nullptr;
    Vector ln_f_bias = nullptr;
    std::unordered_map<std::string, Parameter> parameters;  // by name in the checkpoint
    bool quantises_activations = false;                     // for at least one matrix
    Workspace workspace;

    Model(const Shape&, const Kernels&, int threads);
    const Matrix& head() const { return shape.tied ? wte : lm_head; }
};

// Load a tensor from the arrays that its format stores, each viewed as (outputs, depth). Throws std::invalid_argument for an
// unknown name or format.
void load(Model&, const char* name, const char* format, const StoredArray* arrays);

}  // namespace cutaway
