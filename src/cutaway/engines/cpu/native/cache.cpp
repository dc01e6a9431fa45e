#include "cache.h"

#include <algorithm>
#include <cstring>

namespace cutaway {
namespace {

char* at(const Bytes& bytes, size_t offset) { return static_cast<char*>(bytes.data()) + offset; }

}  // namespace

Cache::Cache(const Shape& shape, int count)
    : rows(count), shape_(shape), d_head_(shape.d_head()), n_head_(shape.n_head), heads_(n_head_ * shape.n_layer) {}

void Cache::prefer(Stored wanted) {
    const bool empty = std::all_of(rows.begin(), rows.end(), [](const CacheRow& row) { return row.length == 0; });
    if (!empty || wanted == stored_) return;
    for (CacheRow& row : rows) row = CacheRow();
    stored_ = wanted;
}

void Cache::reserve(int row, int length) {
    if (size_t(length) > rows[row].capacity) rows[row] = copied(rows[row], roomy(length));
}

void Cache::truncate(int row, int length) {
    rows[row].length = length;
    if (length == 0) rows[row] = CacheRow();
}

void Cache::copy_row(int source, int target) {
    if (source != target) rows[target] = copied(rows[source], roomy(rows[source].length));
}

size_t Cache::roomy(int length) const { return round_up(std::min(shape_.n_ctx, length + length / 2 + 4 * kLanes), kLanes); }

CacheRow Cache::copied(const CacheRow& row, size_t capacity) const {
    CacheRow copy;
    copy.length = row.length;
    copy.capacity = capacity;
    copy.keys = Bytes(heads_ * capacity * d_head_ * element());
    copy.values = Bytes(heads_ * capacity * value_panels() * kLanes * element());
    const size_t held = round_up(row.length, kLanes);
    const auto copy_runs = [&](size_t runs, size_t width, const Bytes& from, const Bytes& to) {
        for (size_t run = 0; held && run < runs; run++)
            std::memcpy(at(to, run * capacity * width), at(from, run * row.capacity * width), held * width);
    };
    copy_runs(heads_, d_head_ * element(), row.keys, copy.keys);
    copy_runs(heads_ * value_panels(), kLanes * element(), row.values, copy.values);
    return copy;
}

HeadCache Cache::head(int row, int layer, int head) const {
    const CacheRow& r = rows[row];
    const size_t before = (layer * n_head_ + head) * r.capacity * element();  // of every element of a key, panel of a value
    return {stored_ == Stored::kHalf, d_head_, r.capacity, at(r.keys, before * d_head_),
            at(r.values, before * value_panels() * kLanes)};
}

}  // namespace cutaway
