#include "cache.h"

#include <algorithm>
#include <cstring>

namespace cutaway {
namespace {

char* address(const Bytes& bytes, size_t offset) { return static_cast<char*>(bytes.data()) + offset; }

}  // namespace

Cache::Cache(const Shape& shape, int count)
    : rows(count), shape_(shape), d_head_(shape.d_head()), n_head_(shape.n_head), heads_(n_head_ * shape.n_layer) {}

void Cache::set_type_if_empty(KvType type) {
    const bool empty = std::all_of(rows.begin(), rows.end(), [](const CacheRow& row) { return row.length == 0; });
    if (!empty || type == type_) return;
    for (CacheRow& row : rows) row = CacheRow();
    type_ = type;
}

void Cache::reserve(int row, int length) {
    if (size_t(length) > rows[row].capacity) rows[row] = with_capacity(rows[row], grown_capacity(length));
}

void Cache::truncate(int row, int length) {
    rows[row].length = length;
    if (length == 0) rows[row] = CacheRow();
}

void Cache::copy_row(int source, int target) {
    if (source != target) rows[target] = with_capacity(rows[source], grown_capacity(rows[source].length));
}

size_t Cache::grown_capacity(int length) const {
    return round_up(std::min(shape_.n_ctx, length + length / 2 + 4 * kLanes), kLanes);
}

CacheRow Cache::with_capacity(const CacheRow& row, size_t capacity) const {
    CacheRow copy;
    copy.length = row.length;
    copy.capacity = capacity;
    copy.keys = Bytes(heads_ * capacity * d_head_ * element_bytes());
    copy.values = Bytes(heads_ * capacity * value_panels() * kLanes * element_bytes());
    const size_t used = round_up(row.length, kLanes);
    // Contiguous runs of positions: one per head for keys, one per panel of a head for values. `width` is the bytes of a position.
    const auto copy_runs = [&](size_t runs, size_t width, const Bytes& from, const Bytes& to) {
        for (size_t run = 0; used && run < runs; run++)
            std::memcpy(address(to, run * capacity * width), address(from, run * row.capacity * width), used * width);
    };
    copy_runs(heads_, d_head_ * element_bytes(), row.keys, copy.keys);
    copy_runs(heads_ * value_panels(), kLanes * element_bytes(), row.values, copy.values);
    return copy;
}

HeadCache Cache::head(int row, int layer, int head) const {
    const CacheRow& r = rows[row];
    const size_t offset = (layer * n_head_ + head) * r.capacity * element_bytes();  // in bytes, per element of a head
    return {type_, d_head_, r.capacity, address(r.keys, offset * d_head_),
            address(r.values, offset * value_panels() * kLanes)};
}

}  // namespace cutaway
