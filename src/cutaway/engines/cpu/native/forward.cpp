#include "forward.h"

#include <algorithm>

namespace cutaway {
namespace {

// Tokens that pass through the layers together. More would only take memory: the product is already compute-bound. The division
// into micro-batches does not change the results, because prefill and decode give the same bits.
constexpr int kMicroBatchTokens = 512;
constexpr int kQueriesPerChunk = 48;
constexpr size_t kPanelGroupBytes = 256 << 10;  // weights that a thread multiplies by all rows at once: they fit the L2 cache
constexpr int kChunksPerThread = 4;
constexpr int kSerialRows = 2;  // up to this many rows are finished before another thread would have started

// Consecutive tokens of one sequence, all in one micro-batch.
struct Segment {
    int row;   // of the cache
    int past;  // positions before the first token
    int count;
    int prefix;  // tokens at its beginning that see each other, all of them in this segment
    bool last;   // the segment ends the sequence
};

// Consecutive queries of one segment, all or none in its prefix, processed by one thread for each head.
struct QueryChunk {
    const Segment* segment;
    int first;  // query, within the segment
    int count;
    int token;  // of the first query, within the micro-batch
    int out;    // row of its result

    int seen() const { return first < segment->prefix ? segment->prefix : 0; }
};

// The forward pass of one micro-batch.
class ForwardPass {
  public:
    ForwardPass(Model& model, Cache& cache, bool exact)
        : model_(model), shape_(model.shape), kernels_(model.kernels), work_(model.workspace), cache_(cache),
          width_(padded(model.shape.n_embd)), exact_(exact) {}

    void run(const int32_t* tokens, const std::vector<Segment>& segments, bool all, float* logits) {
        tokens_ = 0;
        for (const Segment& s : segments) tokens_ += s.count;
        embed(tokens, segments);
        for (int layer = 0; layer < shape_.n_layer; layer++) block(layer, segments, all || layer + 1 < shape_.n_layer);
        lm_head(logits);
    }

  private:
    void embed(const int32_t* tokens, const std::vector<Segment>& segments) {
        std::vector<int> positions;
        for (const Segment& s : segments)
            for (int i = 0; i < s.count; i++) positions.push_back(s.past + i);
        for_each_row(tokens_, [&](int row) {
            float* x = work_.x.data() + row * width_;
            const float* position = model_.wpe + positions[row] * width_;
            model_.wte.format->dequantise_row(model_.wte, tokens[row], x);
            for (int i = 0; i < shape_.n_embd; i++) x[i] += position[i];
            std::fill(x + shape_.n_embd, x + width_, 0.0f);  // an earlier call may have left NaN there
        });
    }

    // One transformer block. Unless `all`, only the last token of each sequence continues after keys and values are stored.
    void block(int index, const std::vector<Segment>& segments, bool all) {
        const Layer& layer = model_.layers[index];
        layer_norm(layer.ln_1_gain, layer.ln_1_bias, layer.c_attn);
        linear(layer.c_attn, layer.c_attn_bias, work_.normed, work_.qkv, Epilogue::kStore);
        store_kv(index, segments);
        attend(index, query_chunks(segments, all));
        if (!all) gather_last_tokens(segments);
        quantise(layer.attn_proj, work_.normed);
        linear(layer.attn_proj, layer.attn_proj_bias, work_.normed, work_.x, Epilogue::kAdd);

        layer_norm(layer.ln_2_gain, layer.ln_2_bias, layer.c_fc);
        linear(layer.c_fc, layer.c_fc_bias, work_.normed, work_.hidden, shape_.activation);
        quantise(layer.mlp_proj, work_.hidden);
        linear(layer.mlp_proj, layer.mlp_proj_bias, work_.hidden, work_.x, Epilogue::kAdd);
    }

    void lm_head(float* logits) {
        layer_norm(model_.ln_f_gain, model_.ln_f_bias, model_.head());
        const Outputs to{logits, size_t(shape_.n_vocab), shape_.n_vocab, nullptr, Epilogue::kStore};
        linear(model_.head(), work_.normed, to);
    }

    // Layer norm of x into normed, quantised if the matrix that reads it multiplies integers.
    void layer_norm(Vector gain, Vector bias, const Matrix& reader) {
        for_each_row(tokens_, [&](int row) {
            kernels_.layer_norm(work_.x.data() + row * width_, gain, bias, shape_.n_embd, shape_.epsilon,
                                work_.normed.data() + row * width_);
            if (quantises_for(reader)) quantise(reader, work_.normed, row);
        });
    }

    bool quantises_for(const Matrix& reader) const { return !exact_ && reader.format->multiply; }

    void quantise(const Matrix& reader, const Buffer<float>& from) {
        if (quantises_for(reader)) for_each_row(tokens_, [&](int row) { quantise(reader, from, row); });
    }

    void quantise(const Matrix& reader, const Buffer<float>& from, int row) {
        const size_t width = padded(reader.depth);
        kernels_.quantise(from.data() + row * width, reader.input_scales, quantised_rows(width), row);
    }

    QuantisedRows quantised_rows(size_t width) const {
        return {work_.quantised.data(), work_.quantised_scales.data(), work_.quantised_sums.data(), width};
    }

    void linear(const Matrix& matrix, Vector bias, const Buffer<float>& from, const Buffer<float>& to, Epilogue epilogue) {
        const size_t stride = padded(matrix.outputs);
        linear(matrix, from, {to.data(), stride, int(stride), bias, epilogue});
    }

    void linear(const Matrix& matrix, const Buffer<float>& from, const Outputs& to) {
        const size_t width = padded(matrix.depth);
        const Format& format = *matrix.format;
        const bool quantised = quantises_for(matrix);
        for_each_panel_group(matrix, [&](PanelRange range, int thread) {
            if (quantised) format.multiply(matrix, range, quantised_rows(width), tokens_, to);
            else format.multiply_exact(matrix, range, {from.data(), width}, tokens_, to, work_.panels[thread].data());
        });
    }

    // Write the keys and values of the micro-batch to the cache.
    void store_kv(int layer, const std::vector<Segment>& segments) {
        const int d = shape_.n_embd;
        const int d_head = shape_.d_head();
        int first = 0;
        for (const Segment& s : segments) {
            for_each(shape_.n_head, s.count * d > 8192, [&](int head, int) {
                const HeadCache to = cache_.head(s.row, layer, head);
                for (int i = 0; i < s.count; i++) {
                    const float* key = work_.qkv.data() + (first + i) * padded(3 * d) + d + head * d_head;
                    kernels_.store_kv(to, s.past + i, key, key + d);
                }
            });
            first += s.count;
        }
    }

    std::vector<QueryChunk> query_chunks(const std::vector<Segment>& segments, bool all) const {
        std::vector<QueryChunk> chunks;
        int token = 0;
        int ends = 0;
        for (const Segment& s : segments) {
            if (all)
                for (int first = 0, end; first < s.count; first = end) {
                    end = std::min(first + kQueriesPerChunk, first < s.prefix ? s.prefix : s.count);
                    chunks.push_back({&s, first, end - first, token + first, token + first});
                }
            else if (s.last)
                chunks.push_back({&s, s.count - 1, 1, token + s.count - 1, ends++});
            token += s.count;
        }
        return chunks;
    }

    void attend(int layer, const std::vector<QueryChunk>& chunks) {
        const size_t qkv_width = padded(3 * shape_.n_embd);
        for_each(int(chunks.size()) * shape_.n_head, true, [&](int task, int thread) {
            const QueryChunk& q = chunks[chunks.size() - 1 - task / shape_.n_head];  // chunks with the most positions first
            const int head = task % shape_.n_head;
            const int column = head * shape_.d_head();
            kernels_.attend({cache_.head(q.segment->row, layer, head), work_.qkv.data() + q.token * qkv_width + column, qkv_width,
                             work_.normed.data() + q.out * width_ + column, width_, q.count, q.segment->past + q.first,
                             shape_.divisor(layer), q.seen(), work_.scores[thread].data(), work_.positions,
                             relative(layer, head), shape_.relative_positions});
        });
    }

    const float* relative(int layer, int head) const {
        const std::vector<Matrix>& heads = model_.layers[layer].relative;
        return heads.empty() ? nullptr : reinterpret_cast<const float*>(heads[head].panels);
    }

    // Reduce x to the last token of each sequence.
    void gather_last_tokens(const std::vector<Segment>& segments) {
        int token = 0;
        int kept = 0;
        for (const Segment& s : segments) {
            token += s.count;
            if (!s.last) continue;
            std::copy_n(work_.x.data() + (token - 1) * width_, width_, work_.x.data() + kept++ * width_);
        }
        tokens_ = kept;
    }

    template <class Body>
    void for_each(int count, bool parallel, const Body& body) {
        if (parallel) return model_.pool.parallel_for(count, body);
        for (int i = 0; i < count; i++) body(i, 0);
    }

    template <class Body>
    void for_each_row(int rows, const Body& body) {
        for_each(rows, rows > kSerialRows, [&](int row, int) { body(row); });
    }

    // Divide the panels into groups: several per thread, and each small enough for kPanelGroupBytes.
    template <class Body>
    void for_each_panel_group(const Matrix& matrix, const Body& body) {
        const int panels = matrix.panel_count();
        const int balanced = int(divide_up(panels, model_.pool.size() * kChunksPerThread));
        const int group = std::max(1, std::min(balanced, int(kPanelGroupBytes / matrix.panel_bytes())));
        for_each(int(divide_up(panels, group)), true, [&](int chunk, int thread) {
            body(PanelRange{chunk * group, std::min(panels, (chunk + 1) * group)}, thread);
        });
    }

    Model& model_;
    const Shape& shape_;
    const Kernels& kernels_;
    Workspace& work_;
    Cache& cache_;
    const size_t width_;  // of a row of x
    const bool exact_;    // float32 activations for all matrices
    int tokens_ = 0;      // rows of x in use
};

// Grow the workspace to micro-batches of `tokens` tokens that attend to `positions` positions.
void reserve_workspace(Model& model, int tokens, int positions) {
    Workspace& work = model.workspace;
    const Shape& s = model.shape;
    const size_t d = padded(s.n_embd);
    const size_t inner = padded(s.n_inner);
    const size_t widest = std::max(d, inner);
    const size_t threads = model.pool.size();
    if (tokens > work.tokens) {
        work.tokens = 0;  // in case an allocation throws
        work.x = Buffer<float>(tokens * d);
        work.normed = Buffer<float>(tokens * d);
        work.qkv = Buffer<float>(tokens * padded(3 * s.n_embd));
        work.hidden = Buffer<float>(tokens * inner);
        work.quantised = Buffer<char>(tokens * widest * kQuantisedBytes);
        work.quantised_scales = Buffer<float>(tokens * widest / kBlock);
        work.quantised_sums = Buffer<int32_t>(tokens * widest / kBlock);
        work.panels.clear();
        for (size_t i = 0; i < threads; i++) work.panels.emplace_back(widest * kLanes);
        work.tokens = tokens;
    }
    const size_t extent = round_up(positions, kLanes);
    if (extent > work.positions) {
        work.positions = 0;  // in case an allocation throws
        work.scores.clear();
        for (size_t i = 0; i < threads; i++) work.scores.emplace_back(kMaxTileRows * extent * (s.relative_positions ? 2 : 1));
        work.positions = extent;
    }
}

// Tokens of the largest micro-batch of a batch: a prefix is never divided.
int most_tokens(const Batch& batch) {
    int most = kMicroBatchTokens;
    for (const int prefix : batch.prefixes) most = std::max(most, prefix);
    return most;
}

// Divide a batch into micro-batches of at most kMicroBatchTokens tokens, in the order of the sequences. A long sequence is divided,
// but its prefix is not.
std::vector<std::vector<Segment>> micro_batches(const Batch& batch, const Cache& cache) {
    std::vector<std::vector<Segment>> micro_batches(1);
    int room = kMicroBatchTokens;
    for (size_t i = 0; i < batch.counts.size(); i++) {
        const int row = batch.cache_rows[i];
        const int past = cache.rows[row].length;
        for (int done = 0; done < batch.counts[i];) {
            const int prefix = done == 0 ? batch.prefixes[i] : 0;
            if (room < std::max(1, prefix)) {
                if (!micro_batches.back().empty()) micro_batches.emplace_back();
                room = std::max(kMicroBatchTokens, prefix);
            }
            const int count = std::min(room, batch.counts[i] - done);
            micro_batches.back().push_back({row, past + done, count, prefix, done + count == batch.counts[i]});
            done += count;
            room -= count;
        }
    }
    return micro_batches;
}

}  // namespace

void forward(Model& model, Cache* cache, const Batch& batch, float* logits) {
    const size_t sequences = batch.counts.size();
    Cache temporary(model.shape, cache ? 0 : int(sequences));  // without a cache a row is freed after its last token
    Cache& kv = cache ? *cache : temporary;

    std::vector<int> lengths(kv.rows.size());  // after the forward pass, of the rows in use
    int tokens = 0;
    int longest = 0;
    for (size_t i = 0; i < sequences; i++) {
        int& length = lengths[batch.cache_rows[i]];
        length = kv.rows[batch.cache_rows[i]].length + batch.counts[i];
        longest = std::max(longest, length);
        tokens += batch.counts[i];
    }
    reserve_workspace(model, std::min(tokens, most_tokens(batch)), longest);
    kv.set_type_if_empty(!batch.exact && model.quantises_activations ? KvType::kFloat16 : KvType::kFloat32);
    if (cache)
        for (const int row : batch.cache_rows) kv.reserve(row, lengths[row]);

    ForwardPass pass(model, kv, batch.exact);
    const int32_t* next = batch.tokens;
    for (const std::vector<Segment>& segments : micro_batches(batch, kv)) {
        int tokens = 0;
        int ends = 0;
        for (const Segment& s : segments) {
            if (!cache) kv.reserve(s.row, lengths[s.row]);
            tokens += s.count;
            ends += s.last;
        }
        pass.run(next, segments, batch.all, logits);
        next += tokens;
        logits += size_t(batch.all ? tokens : ends) * model.shape.n_vocab;
        if (!cache)
            for (const Segment& s : segments)
                if (s.last) kv.rows[s.row] = CacheRow();
    }
    for (const int row : batch.cache_rows) kv.rows[row].length = lengths[row];
}

}  // namespace cutaway
