// Keys and values of what the rows of a batch have read. Each row has a buffer of its own, with room for what comes
// next: a prompt is read once, and its first new token must not wait for the whole row to be copied.

#pragma once

#include <vector>

#include "model.h"

namespace cutaway {

enum class Stored { kFloat, kHalf };

// One sequence. Keys: (layer, head, position / 16, d_head, 16); values: (layer, head, d_head / 16, position, 16). What lies
// beyond the length is finite (zeros, or what was truncated), as attention multiplies it by zero.
struct CacheRow {
    int length = 0;
    size_t capacity = 0;  // a multiple of kLanes
    Bytes keys, values;
};

class Cache {
  public:
    Cache(const Shape&, int rows);

    std::vector<CacheRow> rows;

    // While it is empty a cache takes on the precision that the next call wants; after that it keeps its own.
    void prefer(Stored);
    // Make room for `length` positions in a row.
    void reserve(int row, int length);
    // Forget what a row holds from this length on; an empty row gives its memory back.
    void truncate(int row, int length);
    void copy_row(int source, int target);

    Stored stored() const { return stored_; }
    HeadCache head(int row, int layer, int head) const;

  private:
    size_t element() const { return stored_ == Stored::kHalf ? sizeof(Half) : sizeof(float); }
    size_t value_panels() const { return divide_up(d_head_, kLanes); }
    CacheRow copied(const CacheRow&, size_t capacity) const;
    size_t roomy(int length) const;  // capacity for a row that has grown to this length, and a half more

    Shape shape_;
    int d_head_;
    size_t n_head_, heads_;  // heads in a layer, in all layers
    Stored stored_ = Stored::kFloat;
};

}  // namespace cutaway
