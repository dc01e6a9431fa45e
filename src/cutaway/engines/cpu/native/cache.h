// The KV cache. Each row has its own buffers with spare capacity, so that the first decode step after a prefill does not copy the
// whole row.

#pragma once

#include <vector>

#include "model.h"

namespace cutaway {

// One sequence. Keys: (layer, head, position / 16, d_head, 16); values: (layer, head, d_head / 16, position, 16). Elements past the
// length are zeros or truncated positions, which attention does not use.
struct CacheRow {
    int length = 0;
    size_t capacity = 0;  // a multiple of kLanes
    Bytes keys;
    Bytes values;
};

class Cache {
  public:
    Cache(const Shape&, int rows);

    std::vector<CacheRow> rows;

    // Set the type if all rows are empty; otherwise the cache keeps its type.
    void set_type_if_empty(KvType);
    // Grow a row to a capacity of at least `length` positions.
    void reserve(int row, int length);
    // Drop the positions of a row from `length` on; an empty row frees its memory.
    void truncate(int row, int length);
    void copy_row(int source, int target);

    HeadCache head(int row, int layer, int head) const;

  private:
    size_t element_bytes() const { return type_ == KvType::kFloat16 ? sizeof(Half) : sizeof(float); }
    size_t value_panels() const { return divide_up(d_head_, kLanes); }
    CacheRow with_capacity(const CacheRow&, size_t capacity) const;
    size_t grown_capacity(int length) const;  // half as much again as the length, to amortise copies

    Shape shape_;
    int d_head_;
    size_t n_head_;
    size_t heads_;  // of all layers
    KvType type_ = KvType::kFloat32;
};

}  // namespace cutaway
