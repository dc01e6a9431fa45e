// The forward pass of a ragged batch.

#pragma once

#include "cache.h"

namespace cutaway {

struct Batch {
    const int32_t* tokens;  // of all rows, one after the other
    std::vector<int> counts;
    std::vector<int> cache_rows;  // the row of the cache that each sequence continues
    bool all;    // logits after every token, not only after the last of a row
    bool exact;  // float32 activations also where the weights are int8
};

// Read the tokens after what `cache` holds (nullptr: from the start) and write the logits, (rows or tokens, n_vocab).
// Throws std::bad_alloc; the cache then still holds what it held, in as far as it was told: its lengths.
void forward(Model&, Cache* cache, const Batch&, float* logits);

}  // namespace cutaway
