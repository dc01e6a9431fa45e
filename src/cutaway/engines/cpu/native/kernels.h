// What is compiled once for every instruction set: a table of functions, chosen when a model is made.
// None of them allocates, locks or starts a thread; each works on a part of a stage that the caller has cut.

#pragma once

#include "panels.h"

namespace cutaway {

constexpr size_t kQuantisedBytes = 2;  // at most, of a quantised activation

// Rows of activations. Rows are padded with zeros to a multiple of kBlock.
struct FloatRows {
    const float* data;
    size_t stride;
};

// The same rows quantised in blocks of kBlock to whole numbers of at most 127. How these and their scales are written is the
// instruction set's own affair: one byte a value or two, in the order that its products want. `sums` holds the sum of each block.
struct QuantisedRows {
    void* values;  // stride * kQuantisedBytes a row
    float* scales;
    int32_t* sums;
    size_t stride;  // in values; scales and sums have stride / kBlock
};

enum class Epilogue { kStore, kGelu, kAdd };  // y = v, y = gelu(v), y += v, where v = x W + bias

// Where the outputs of a linear layer go.
struct Outputs {
    float* data;
    size_t stride;
    int width;          // columns that may be written
    const float* bias;  // padded to whole panels; nullptr where there is none
    Epilogue epilogue;
};

struct PanelRange {
    int first, last;
};

// The cached keys and values of one head of one sequence, as float16 or float32.
struct HeadCache {
    bool half;
    int d_head;
    size_t capacity;  // positions that there is room for, a multiple of kLanes
    void* keys;       // [position / 16][d_head][16]
    void* values;     // [d_head / 16][position][16]
};

// Consecutive queries of one head, each against the keys and values of its own position and all before it.
struct AttentionTask {
    HeadCache cache;
    const float* queries;  // (count, d_head)
    size_t query_stride;
    float* out;  // (count, d_head)
    size_t out_stride;
    int count;
    int past;       // positions before the first query
    float* scores;  // scratch: kMaxTileRows rows of score_stride floats
    size_t score_stride;
};

constexpr int kMaxTileRows = 16;

// One of the arrays that a matrix is stored as, with strides in elements.
struct StoredArray {
    const void* data;
    ptrdiff_t output_stride, depth_stride;
};

// The weights of a linear layer in panels of 16 outputs, in whatever way its format has them.
struct PackedMatrix {
    int outputs, depth;
    char* panels;
    float* input_scales;  // what activations are multiplied by, zero-padded to whole blocks; only some formats have them
};

// A stored format with the code of one instruction set. Each is a file kernel_*.inl, which kernels.inl lists.
struct Format {
    const char* name;
    int input_scales;  // which of the stored arrays holds the float32 input scales; -1 for a format without

    size_t (*panel_bytes)(int depth);
    // Fill some panels, which are zero, from the stored arrays.
    void (*pack)(const StoredArray* arrays, const PackedMatrix& to, PanelRange);
    // The weights of one output as float32: (depth).
    void (*dequantise_row)(const PackedMatrix&, int output, float* row);
    // y = x W for the outputs of some panels and `rows` rows of x, quantised; nullptr for a format that multiplies floats only.
    void (*multiply)(const PackedMatrix&, PanelRange, QuantisedRows, int rows, const Outputs&);
    // The same with float32 activations and weights, which may be de-quantised a panel at a time in `scratch` (depth x 16).
    void (*multiply_exact)(const PackedMatrix&, PanelRange, FloatRows, int rows, const Outputs&, float* scratch);
};

struct Kernels {
    const char* name;
    const Format* const* formats;  // ends with nullptr

    void (*attend)(const AttentionTask&);
    // Write key and value of one position, each (d_head), into the cache.
    void (*store_kv)(const HeadCache&, int position, const float* key, const float* value);

    // y = (x - mean) / sqrt(variance + epsilon) * gain + bias for one row.
    void (*layer_norm)(const float* x, const float* gain, const float* bias, int width, float epsilon, float* y);
    // x * input_scales, quantised with a scale a block, to row `row` of `to`.
    void (*quantise)(const float* x, const float* input_scales, QuantisedRows to, int row);
};

extern const Kernels kKernelsPortable;
#if defined(__x86_64__)
extern const Kernels kKernelsAvx2;
extern const Kernels kKernelsAvx512;
#endif

// The table of that name ("portable", "avx2", "avx512"), or the best one for nullptr; nullptr where this processor cannot run it.
const Kernels* find_kernels(const char* name);

// The format of that name; nullptr if there is none.
const Format* find_format(const Kernels&, const char* name);

}  // namespace cutaway
