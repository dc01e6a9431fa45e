#include "forward.h"

#include <algorithm>

namespace cutaway {
namespace {

// As many tokens go through the layers together. More would only cost memory: the weights are already read far less often than
// they are multiplied. As prefill equals decode bit for bit, how a batch is cut changes nothing.
constexpr int kSlabTokens = 512;
constexpr int kQueriesPerTask = 48;
constexpr size_t kPanelGroupBytes = 256 << 10;  // weights that a thread takes through all rows at once: within the L2 cache
constexpr int kChunksPerThread = 4;
constexpr int kSerialRows = 2;  // so few rows are done before another thread has noticed that there is work

// Consecutive tokens of one sequence of the batch.
struct Segment {
    int row;    // of the cache
    int past;   // positions before the first of them
    int count;
    bool last;  // reaches the end of the sequence
};

// Consecutive queries of one segment; their results go to rows `out` .. of the slab.
struct Queries {
    const Segment* segment;
    int first, count;  // within the segment
    int token;         // of the first query, within the slab
    int out;
};

size_t padded(int width) { return round_up(width, kBlock); }

// One slab of tokens on its way through the model.
class Pass {
  public:
    Pass(Model& model, Cache& cache, bool exact)
        : model_(model), shape_(model.shape), kernels_(model.kernels), work_(model.workspace), cache_(cache),
          width_(padded(model.shape.n_embd)), exact_(exact) {}

    void run(const int32_t* tokens, const std::vector<Segment>& segments, bool all, float* logits) {
        tokens_ = 0;
        for (const Segment& s : segments) tokens_ += s.count;
        embed(tokens, segments);
        for (int layer = 0; layer < shape_.n_layer; layer++) block(layer, segments, all || layer + 1 < shape_.n_layer);
        head(logits);
    }

  private:
    void embed(const int32_t* tokens, const std::vector<Segment>& segments) {
        std::vector<int> positions;
        for (const Segment& s : segments)
            for (int i = 0; i < s.count; i++) positions.push_back(s.past + i);
        each_row(tokens_, [&](int row) {
            float* x = work_.x.data() + row * width_;
            const float* position = model_.wpe + positions[row] * width_;
            model_.wte.format->dequantise_row(model_.wte, tokens[row], x);
            for (int i = 0; i < shape_.n_embd; i++) x[i] += position[i];
            std::fill(x + shape_.n_embd, x + width_, 0.0f);  // an earlier call may have left NaN in the padding
        });
    }

    // One layer. Unless `all`, only the last token of each row is followed beyond the keys and values.
    void block(int index, const std::vector<Segment>& segments, bool all) {
        const Layer& layer = model_.layers[index];
        normalise(layer.ln_1_gain, layer.ln_1_bias, layer.c_attn);
        linear(layer.c_attn, layer.c_attn_bias, work_.normed, work_.qkv, Epilogue::kStore);
        store_kv(index, segments);
        attend(index, queries(segments, all));
        if (!all) keep_last(segments);
        quantise(layer.attn_proj, work_.normed);
        linear(layer.attn_proj, layer.attn_proj_bias, work_.normed, work_.x, Epilogue::kAdd);

        normalise(layer.ln_2_gain, layer.ln_2_bias, layer.c_fc);
        linear(layer.c_fc, layer.c_fc_bias, work_.normed, work_.hidden, Epilogue::kGelu);
        quantise(layer.mlp_proj, work_.hidden);
        linear(layer.mlp_proj, layer.mlp_proj_bias, work_.hidden, work_.x, Epilogue::kAdd);
    }

    void head(float* logits) {
        normalise(model_.ln_f_gain, model_.ln_f_bias, model_.head());
        const Outputs to{logits, size_t(shape_.n_vocab), shape_.n_vocab, nullptr, Epilogue::kStore};
        linear(model_.head(), work_.normed, to);
    }

    // x normalised, and quantised for the matrix that reads it.
    void normalise(Vector gain, Vector bias, const Matrix& reader) {
        each_row(tokens_, [&](int row) {
            kernels_.layer_norm(work_.x.data() + row * width_, gain, bias, shape_.n_embd, shape_.epsilon,
                                work_.normed.data() + row * width_);
            if (quantises_for(reader)) quantise(reader, work_.normed, row);
        });
    }

    bool quantises_for(const Matrix& reader) const { return !exact_ && reader.format->multiply; }

    void quantise(const Matrix& reader, const Buffer<float>& from) {
        if (quantises_for(reader)) each_row(tokens_, [&](int row) { quantise(reader, from, row); });
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
        each_panel_group(matrix, [&](PanelRange range, int thread) {
            if (quantised) format.multiply(matrix, range, quantised_rows(width), tokens_, to);
            else format.multiply_exact(matrix, range, {from.data(), width}, tokens_, to, work_.panels[thread].data());
        });
    }

    // The keys and values of the slab into the cache.
    void store_kv(int layer, const std::vector<Segment>& segments) {
        const int d = shape_.n_embd, d_head = shape_.d_head();
        int first = 0;
        for (const Segment& s : segments) {
            each(shape_.n_head, s.count * d > 8192, [&](int head, int) {
                const HeadCache to = cache_.head(s.row, layer, head);
                for (int i = 0; i < s.count; i++) {
                    const float* key = work_.qkv.data() + (first + i) * padded(3 * d) + d + head * d_head;
                    kernels_.store_kv(to, s.past + i, key, key + d);
                }
            });
            first += s.count;
        }
    }

    std::vector<Queries> queries(const std::vector<Segment>& segments, bool all) const {
        std::vector<Queries> queries;
        int token = 0, ends = 0;
        for (const Segment& s : segments) {
            if (all)
                for (int first = 0; first < s.count; first += kQueriesPerTask)
                    queries.push_back({&s, first, std::min(kQueriesPerTask, s.count - first), token + first, token + first});
            else if (s.last)
                queries.push_back({&s, s.count - 1, 1, token + s.count - 1, ends++});
            token += s.count;
        }
        return queries;
    }

    void attend(int layer, const std::vector<Queries>& queries) {
        const size_t qkv_width = padded(3 * shape_.n_embd);
        each(int(queries.size()) * shape_.n_head, true, [&](int task, int thread) {
            const Queries& q = queries[queries.size() - 1 - task / shape_.n_head];  // the longest ones of a sequence first
            const int head = task % shape_.n_head, column = head * shape_.d_head();
            kernels_.attend({cache_.head(q.segment->row, layer, head), work_.qkv.data() + q.token * qkv_width + column, qkv_width,
                             work_.normed.data() + q.out * width_ + column, width_, q.count, q.segment->past + q.first,
                             work_.scores[thread].data(), work_.positions});
        });
    }

    // Move the residuals of the last token of each row to the front, and go on with these alone.
    void keep_last(const std::vector<Segment>& segments) {
        int token = 0, kept = 0;
        for (const Segment& s : segments) {
            token += s.count;
            if (!s.last) continue;
            std::copy_n(work_.x.data() + (token - 1) * width_, width_, work_.x.data() + kept++ * width_);
        }
        tokens_ = kept;
    }

    template <class Work>
    void each(int count, bool worth_sharing, const Work& work) {
        if (worth_sharing) return model_.pool.run(count, work);
        for (int i = 0; i < count; i++) work(i, 0);
    }

    template <class Work>
    void each_row(int rows, const Work& work) {
        each(rows, rows > kSerialRows, [&](int row, int) { work(row); });
    }

    template <class Work>
    void each_panel_group(const Matrix& matrix, const Work& work) {
        const int panels = matrix.panel_count();
        const int fair = int(divide_up(panels, model_.pool.size() * kChunksPerThread));
        const int group = std::max(1, std::min(fair, int(kPanelGroupBytes / matrix.panel_bytes())));
        each(int(divide_up(panels, group)), true, [&](int chunk, int thread) {
            work(PanelRange{chunk * group, std::min(panels, (chunk + 1) * group)}, thread);
        });
    }

    Model& model_;
    const Shape& shape_;
    const Kernels& kernels_;
    Workspace& work_;
    Cache& cache_;
    const size_t width_;  // of a row of x
    const bool exact_;    // float32 activations for all matrices
    int tokens_ = 0;  // rows of x in use
};

void make_room(Model& model, int tokens, int positions) {
    Workspace& work = model.workspace;
    const Shape& s = model.shape;
    const size_t d = padded(s.n_embd), inner = padded(s.n_inner), widest = std::max(d, inner);
    const size_t threads = model.pool.size();
    if (tokens > work.tokens) {
        work.tokens = 0;
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
        work.positions = 0;
        work.scores.clear();
        for (size_t i = 0; i < threads; i++) work.scores.emplace_back(kMaxTileRows * extent);
        work.positions = extent;
    }
}

// Cut the batch into slabs of at most kSlabTokens tokens; sequences in order, long ones in several slabs.
std::vector<std::vector<Segment>> cut(const Batch& batch, const Cache& cache) {
    std::vector<std::vector<Segment>> slabs(1);
    int room = kSlabTokens;
    for (size_t i = 0; i < batch.counts.size(); i++) {
        const int row = batch.cache_rows[i], past = cache.rows[row].length;
        for (int done = 0; done < batch.counts[i];) {
            if (room == 0) {
                slabs.emplace_back();
                room = kSlabTokens;
            }
            const int count = std::min(room, batch.counts[i] - done);
            slabs.back().push_back({row, past + done, count, done + count == batch.counts[i]});
            done += count;
            room -= count;
        }
    }
    return slabs;
}

}  // namespace

void forward(Model& model, Cache* cache, const Batch& batch, float* logits) {
    const size_t sequences = batch.counts.size();
    Cache passing(model.shape, cache ? 0 : int(sequences));  // without a cache each row is kept only until its last token is read
    Cache& kept = cache ? *cache : passing;

    std::vector<int> lengths(kept.rows.size());  // of the rows that are read into, afterwards
    int tokens = 0, longest = 0;
    for (size_t i = 0; i < sequences; i++) {
        int& length = lengths[batch.cache_rows[i]];
        length = kept.rows[batch.cache_rows[i]].length + batch.counts[i];
        longest = std::max(longest, length);
        tokens += batch.counts[i];
    }
    const bool halves = !batch.exact && model.quantises_activations;
    make_room(model, std::min(tokens, kSlabTokens), longest);
    kept.prefer(halves ? Stored::kHalf : Stored::kFloat);
    if (cache)
        for (const int row : batch.cache_rows) kept.reserve(row, lengths[row]);

    Pass pass(model, kept, batch.exact);
    const int32_t* next = batch.tokens;
    for (const std::vector<Segment>& slab : cut(batch, kept)) {
        int tokens = 0, ends = 0;
        for (const Segment& s : slab) {
            if (!cache) kept.reserve(s.row, lengths[s.row]);
            tokens += s.count;
            ends += s.last;
        }
        pass.run(next, slab, batch.all, logits);
        next += tokens;
        logits += size_t(batch.all ? tokens : ends) * model.shape.n_vocab;
        if (!cache)
            for (const Segment& s : slab)
                if (s.last) kept.rows[s.row] = CacheRow();
    }
    for (const int row : batch.cache_rows) kept.rows[row].length = lengths[row];
}

}  // namespace cutaway
