// The kernels: a table of functions, compiled once per instruction set and chosen when a model is created.
// Kernels do not allocate, lock or start threads; the caller divides the work between threads.

#pragma once

#include "panels.h"

namespace cutaway {

constexpr size_t kQuantisedBytes = 2;  // upper bound for one quantised activation

// Rows of activations, each zero-padded to a multiple of kBlock.
struct FloatRows {
    const float* data;
    size_t stride;
};

// The same rows quantised to integers in [-127, 127], in blocks of kBlock with a scale each. Their layout depends on the
// instruction set: one or two bytes a value, in the order in which its dot products read them. `sums` holds the sum of each block.
struct QuantisedRows {
    void* values;  // stride * kQuantisedBytes a row
    float* scales;
    int32_t* sums;
    size_t stride;  // in values; in blocks, stride / kBlock, for scales and sums
};

// y = v, y += v or y = f(v), where v = x W + bias. Numbered as in engine.py.
enum class Epilogue { kStore, kAdd, kGeluNew, kGelu, kRelu, kSilu, kTanh };

// The output of a linear layer.
struct Outputs {
    float* data;
    size_t stride;
    int width;          // columns to write; the last panel may have more
    const float* bias;  // padded to whole panels; nullptr without a bias
    Epilogue epilogue;
};

struct PanelRange {
    int begin;
    int end;  // exclusive
};

enum class KvType { kFloat32, kFloat16 };

// The cached keys and values of one head of one sequence.
struct HeadCache {
    KvType type;
    int d_head;
    size_t capacity;  // positions allocated, a multiple of kLanes
    void* keys;       // [position / 16][d_head][16]
    void* values;     // [d_head / 16][position][16]
};

// Attention of consecutive queries of one head: causal if `seen` is 0, else every query attends to the first `seen` positions.
struct AttentionTask {
    HeadCache cache;
    const float* queries;  // (count, d_head)
    size_t query_stride;
    float* out;  // (count, d_head)
    size_t out_stride;
    int count;
    int past;       // positions before the first query
    float divisor;  // of q . k
    int seen;
    float* scores;  // scratch: kMaxTileRows rows of score_stride floats; twice as many with relative positions
    size_t score_stride;
    const float* relative;  // embeddings of distances, [distance / 16][d_head][16]; nullptr without
    int distances;          // number of distances with an embedding
};

constexpr int kMaxTileRows = 16;

// One of the arrays in which a format stores a matrix; strides in elements.
struct StoredArray {
    const void* data;
    ptrdiff_t output_stride;
    ptrdiff_t depth_stride;
};

// The weights of a linear layer, packed into panels of 16 outputs; the format defines the layout of a panel.
struct PackedMatrix {
    int outputs;
    int depth;  // number of inputs
    char* panels;
    float* input_scales;  // per input, multiplied into the activations, zero-padded to whole blocks; nullptr without
};

// A storage format of weights, with its kernels for one instruction set. Each is a file kernel_*.inl, listed in kernels.inl.
struct Format {
    const char* name;
    int input_scales;  // index of the stored array with the float32 input scales; -1 if the format has none

    size_t (*panel_bytes)(int depth);
    // Pack a range of panels, zero before, from the stored arrays.
    void (*pack)(const StoredArray* arrays, const PackedMatrix& to, PanelRange);
    // Write the float32 weights of one output, (depth).
    void (*dequantise_row)(const PackedMatrix&, int output, float* row);
    // y = x W for a range of panels and `rows` quantised rows of x; nullptr if the format has no integer product.
    void (*multiply)(const PackedMatrix&, PanelRange, QuantisedRows, int rows, const Outputs&);
    // The same with float32 rows. Weights may be de-quantised panel by panel into `scratch`, (depth, 16).
    void (*multiply_exact)(const PackedMatrix&, PanelRange, FloatRows, int rows, const Outputs&, float* scratch);
};

struct Kernels {
    const char* name;
    const Format* const* formats;  // null-terminated

    void (*attend)(const AttentionTask&);
    // Write the key and the value of one position, each (d_head), to the cache.
    void (*store_kv)(const HeadCache&, int position, const float* key, const float* value);

    // One row of y = (x - mean) / sqrt(variance + epsilon) * gain + bias.
    void (*layer_norm)(const float* x, const float* gain, const float* bias, int width, float epsilon, float* y);
    // Quantise x * input_scales, with a scale per block, into row `row` of `to`.
    void (*quantise)(const float* x, const float* input_scales, QuantisedRows to, int row);
};

extern const Kernels kKernelsPortable;
#if defined(__x86_64__)
extern const Kernels kKernelsAvx2;
extern const Kernels kKernelsAvx512;
extern const Kernels kKernelsAmx;
#endif

// The kernels for an instruction set ("portable", "avx2", "avx512", "amx"; nullptr: the best available); nullptr if this processor does
// not support it.
const Kernels* find_kernels(const char* name);

// The format of this name; nullptr if unknown.
const Format* find_format(const Kernels&, const char* name);

}  // namespace cutaway
