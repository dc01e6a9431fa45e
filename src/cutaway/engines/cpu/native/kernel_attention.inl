// Attention of a few queries of one head. q.K and p.V use the matrix product of the linear layers: a panel of keys is 16
// positions, a panel of values 16 elements of the head. `Element` is the type of the cache, float or Half.

namespace cutaway {
namespace {

// scores[m][t] = q[m] . key t, from t to `count`, rounded up to whole panels. Keys are those of the cache, or embeddings of distances.
template <int M, int P, class Element>
inline void compute_scores(const AttentionTask& task, int query, const Element* keys, int count, float* scores, int t = 0) {
    const size_t panel_size = size_t(task.cache.d_head) * kLanes;
    const float* q = task.queries + query * task.query_stride;
    for (; t + (P - 1) * kLanes < count; t += P * kLanes) {
        Vec sums[M][P];
        clear(sums);
        multiply(q, task.query_stride, keys + t / kLanes * panel_size, panel_size, task.cache.d_head, sums);
        for (int m = 0; m < M; m++)
            for (int p = 0; p < P; p++) store(scores + m * task.score_stride + t + p * kLanes, sums[m][p]);
    }
    if constexpr (P > 1) {
        if (t < count) compute_scores<M, 1, Element>(task, query, keys, count, scores, t);
    }
}

// scores[m][t] += q[m] . embedding of the distance from t to query m; query 0 sees `first` positions. The products are computed by
// distance, and added in reverse.
template <int M>
inline void add_relative_scores(const AttentionTask& task, int query, int first) {
    const int seen = first + M - 1;  // by the last query of the tile
    float* by_distance = task.scores + kMaxTileRows * task.score_stride;
    compute_scores<M, panels_at_once(M)>(task, query, task.relative, task.distances < seen ? task.distances : seen, by_distance);
    for (int m = 0; m < M; m++) {
        const int count = task.distances < first + m ? task.distances : first + m;
        float* own = task.scores + m * task.score_stride + first + m - 1;  // the score of the query's own position
        for (int distance = 0; distance < count; distance++) own[-distance] += by_distance[m * task.score_stride + distance];
    }
}

// Replace scores by e**(scale * score - max) for the first `valid` positions and by 0 after them (the mask); return their sum.
inline float exp_scores(float* scores, int valid, int positions, float scale) {
    const int extent = int(round_up(positions, kLanes));
    for (int t = valid; t < extent; t++) scores[t] = -__builtin_inff();
    Vec top = broadcast(-__builtin_inff());
    for (int t = 0; t < valid; t += kLanes) top = max(top, load(scores + t));
    const Vec maximum = broadcast(max_of_lanes(top) * scale);
    Vec sum = broadcast(0.0f);
    for (int t = 0; t < extent; t += kLanes) {
        const Vec p = exp(load(scores + t) * broadcast(scale) - maximum);
        store(scores + t, p);
        sum = sum + p;
    }
    return sum_of_lanes(sum);
}

// sums[m][p] += x[m] . panel p over M - 1 terms; row m uses the first m of them (the causal mask within a tile). Masked terms are
// left out, because their values may be infinite or NaN, and 0 times such a value is NaN.
template <int Row, int M, int P, class Weight>
inline void multiply_masked(const float* x, size_t x_stride, const Weight* panels, size_t panel_size, Vec (&sums)[M][P]) {
    if constexpr (Row < M) {
        for (int p = 0; p < P; p++) {
            const Vec w = load(panels + p * panel_size);
            for (int m = Row; m < M; m++) sums[m][p] = fma(broadcast(x[m * x_stride]), w, sums[m][p]);
        }
        multiply_masked<Row + 1>(x + 1, x_stride, panels + kLanes, panel_size, sums);
    }
}

// out[m] = sum over the positions t that row m sees of p[m][t] value[t], divided by totals[m], the sum of p[m].
template <int M, int P, class Element>
inline void weigh_values(const AttentionTask& task, int query, int positions, const float* totals, int panel = 0) {
    const size_t panel_size = task.cache.capacity * kLanes;
    const int panels = int(divide_up(task.cache.d_head, kLanes));
    float* out = task.out + query * task.out_stride;
    for (; panel + P <= panels; panel += P) {
        Vec sums[M][P];
        clear(sums);
        const Element* values = static_cast<const Element*>(task.cache.values) + panel * panel_size;
        const int shared = task.seen ? positions : positions - (M - 1);  // seen by all rows of the tile
        multiply(task.scores, task.score_stride, values, panel_size, shared, sums);
        if (!task.seen)
            multiply_masked<1>(task.scores + shared, task.score_stride, values + size_t(shared) * kLanes, panel_size, sums);
        for (int m = 0; m < M; m++) {
            const Outputs to{out, task.out_stride, task.cache.d_head, nullptr, Epilogue::kStore};
            for (int p = 0; p < P; p++) apply_epilogue(to, m, panel + p, sums[m][p] / broadcast(totals[m]));
        }
    }
    if constexpr (P > 1) {
        if (panel < panels) weigh_values<M, 1, Element>(task, query, positions, totals, panel);
    }
}

template <class Element>
void attend_as(const AttentionTask& task) {
    const float scale = 1.0f / task.divisor;
    for (int query = 0; query < task.count; query += kFloatRows) {
        with_count<kFloatRows>(task.count - query, [&](auto count) {
            constexpr int M = decltype(count)::value;
            const int first = task.past + query + 1;  // number of positions that the first query of the tile sees
            const int positions = task.seen ? task.seen : first + M - 1;  // seen by the last query; later ones are skipped
            const Element* keys = static_cast<const Element*>(task.cache.keys);
            compute_scores<M, panels_at_once(M)>(task, query, keys, positions, task.scores);
            if (task.relative) add_relative_scores<M>(task, query, first);
            float totals[M];
            for (int m = 0; m < M; m++) {
                const int valid = task.seen ? task.seen : first + m;
                totals[m] = exp_scores(task.scores + m * task.score_stride, valid, positions, scale);
            }
            weigh_values<M, panels_at_once(M), Element>(task, query, positions, totals);
        });
    }
}

// The first `count` lanes of a vector; the others are 0.
inline Vec load_lanes(const float* p, int count) {
    if (count == kLanes) return load(p);
    float lane[kLanes] = {};
    for (int i = 0; i < count; i++) lane[i] = p[i];
    return load(lane);
}

template <class Element>
void store_kv_as(const HeadCache& cache, int position, const float* key, const float* value) {
    Element* keys = static_cast<Element*>(cache.keys) + size_t(position / kLanes) * cache.d_head * kLanes + position % kLanes;
    Element* values = static_cast<Element*>(cache.values) + size_t(position) * kLanes;
    for (int first = 0; first < cache.d_head; first += kLanes) {
        const int count = cache.d_head - first < kLanes ? cache.d_head - first : kLanes;
        Element converted[kLanes];
        store(converted, load_lanes(key + first, count));
        for (int i = 0; i < count; i++) keys[size_t(first + i) * kLanes] = converted[i];
        store(values + first / kLanes * cache.capacity * kLanes, load_lanes(value + first, count));
    }
}

void store_kv(const HeadCache& cache, int position, const float* key, const float* value) {
    (cache.type == KvType::kFloat16 ? store_kv_as<Half> : store_kv_as<float>)(cache, position, key, value);
}

void attend(const AttentionTask& task) { (task.cache.type == KvType::kFloat16 ? attend_as<Half> : attend_as<float>)(task); }

}  // namespace
}  // namespace cutaway
