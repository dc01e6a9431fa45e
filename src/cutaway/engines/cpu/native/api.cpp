// The C interface, declared for Python in cutaway/engines/cpu/library.py. engine.py validates the arguments; the errors that
// remain (out of memory, no more threads, an unknown name) are returned as a status.

#include <new>
#include <stdexcept>
#include <system_error>

#include "forward.h"

using namespace cutaway;

namespace {

enum Status { kOk = 0, kNoMemory = 1, kNoThreads = 2, kUnknownName = 3 };

// Call `body` and turn its exception into a status.
template <class Body>
int guarded(const Body& body) {
    try {
        body();
        return kOk;
    } catch (const std::bad_alloc&) {
        return kNoMemory;
    } catch (const std::length_error&) {
        return kNoMemory;
    } catch (const std::system_error&) {
        return kNoThreads;
    } catch (const std::invalid_argument&) {
        return kUnknownName;
    }
}

}  // namespace

#define CUTAWAY_API extern "C" __attribute__((visibility("default")))

// The version of these functions. Increment it here and in library.py with every change to their arguments.
CUTAWAY_API int cutaway_interface() { return 4; }

// Name of the instruction set `wanted` (nullptr: the best available); nullptr if this processor does not support it.
CUTAWAY_API const char* cutaway_isa(const char* wanted) {
    const Kernels* kernels = find_kernels(wanted);
    return kernels ? kernels->name : nullptr;
}

CUTAWAY_API int cutaway_model_new(int n_vocab, int n_ctx, int n_embd, int n_head, int n_layer, int n_inner,
                                  int relative_positions, float epsilon, int tied, int activation, float score_divisor,
                                  int divide_by_layer, const char* isa, int threads, Model** out) {
    const Shape shape{n_vocab, n_ctx,   n_embd,    n_head,               n_layer,       n_inner, relative_positions,
                      epsilon, tied != 0, Epilogue(activation), score_divisor, divide_by_layer != 0};
    return guarded([&] { *out = new Model(shape, *find_kernels(isa), threads); });
}

CUTAWAY_API void cutaway_model_free(Model* model) { delete model; }

// 1 if matrices can be stored in this format, else 0.
CUTAWAY_API int cutaway_has_format(const char* name) { return find_format(*find_kernels(nullptr), name) != nullptr; }

CUTAWAY_API int cutaway_load(Model* model, const char* name, const char* format, const StoredArray* arrays) {
    return guarded([&] {
        std::lock_guard<std::mutex> lock(model->mutex);
        load(*model, name, format, arrays);
    });
}

CUTAWAY_API int cutaway_forward(Model* model, Cache* cache, const int32_t* tokens, const int* counts, const int* prefixes,
                                const int* cache_rows, int rows, int all, int exact, float* logits) {
    return guarded([&] {
        std::lock_guard<std::mutex> lock(model->mutex);
        const Batch batch{tokens,
                          std::vector<int>(counts, counts + rows),
                          std::vector<int>(prefixes, prefixes + rows),
                          std::vector<int>(cache_rows, cache_rows + rows),
                          all != 0,
                          exact != 0};
        forward(*model, cache, batch, logits);
    });
}

CUTAWAY_API int cutaway_cache_new(const Model* model, int rows, Cache** out) {
    return guarded([&] { *out = new Cache(model->shape, rows); });
}

CUTAWAY_API void cutaway_cache_free(Cache* cache) { delete cache; }

CUTAWAY_API void cutaway_cache_lengths(const Cache* cache, int* lengths) {
    for (const CacheRow& row : cache->rows) *lengths++ = row.length;
}

CUTAWAY_API void cutaway_cache_truncate(Cache* cache, const int* lengths) {
    for (int row = 0; row < int(cache->rows.size()); row++) cache->truncate(row, lengths[row]);
}

CUTAWAY_API int cutaway_cache_rows(const Cache* cache) { return int(cache->rows.size()); }

CUTAWAY_API int cutaway_cache_add_rows(Cache* cache, int count) {
    return guarded([&] { cache->rows.resize(cache->rows.size() + count); });
}

CUTAWAY_API int cutaway_cache_copy_row(Cache* cache, int source, int target) {
    return guarded([&] { cache->copy_row(source, target); });
}
