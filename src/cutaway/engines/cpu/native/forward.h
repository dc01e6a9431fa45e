// The forward pass of a batch of sequences of unequal length.

#pragma once

#include "cache.h"

namespace cutaway {

struct Batch {
    const int32_t* tokens;        // of all sequences, concatenated
    std::vector<int> counts;      // tokens of each sequence
    std::vector<int> prefixes;    // number of first tokens of each sequence that see each other; other tokens attend causally
    std::vector<int> cache_rows;  // the row of the cache that each sequence continues
    bool all;                     // logits for every token, not only the last of each sequence
    bool exact;                   // float32 activations for int8 weights too
};

// Run the model on the tokens that follow those in `cache` (nullptr: none), append to it, and write the logits: (tokens, n_vocab)
// if `all`, else (sequences, n_vocab). Throws std::bad_alloc; the lengths of the cache are then unchanged.
void forward(Model&, Cache* cache, const Batch&, float* logits);

}  // namespace cutaway
