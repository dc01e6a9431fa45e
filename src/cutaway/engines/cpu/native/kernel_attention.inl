// Causal attention of a few queries of one head. q.K and p.V are the matrix product of the linear layers: 16 positions are a
// panel of keys, 16 elements of the head a panel of values.

namespace cutaway {
namespace {

// scores[m][t] = q[m] . key t, for `positions` keys rounded up to whole panels, from position t on.
template <int M, int P, class Stored>
inline void score(const AttentionTask& task, int query, int positions, int t = 0) {
    const size_t panel_size = size_t(task.cache.d_head) * kLanes;
    const float* q = task.queries + query * task.query_stride;
    const Stored* keys = static_cast<const Stored*>(task.cache.keys);
    for (; t + (P - 1) * kLanes < positions; t += P * kLanes) {
        Vec sums[M][P];
        clear(sums);
        multiply(q, task.query_stride, keys + t / kLanes * panel_size, panel_size, task.cache.d_head, sums);
        for (int m = 0; m < M; m++)
            for (int p = 0; p < P; p++) store(task.scores + m * task.score_stride + t + p * kLanes, sums[m][p]);
    }
    if constexpr (P > 1) {
        if (t < positions) score<M, 1, Stored>(task, query, positions, t);
    }
}

// Scores to e**(score / sqrt(d_head) - max) over the `valid` positions that the query may see, 0 beyond; returns their sum.
inline float exponentiate(float* scores, int valid, int positions, float scale) {
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

// out[m] = sum over positions of p[m][t] value t, divided by the sum of p[m].
template <int M, int P, class Stored>
inline void mix(const AttentionTask& task, int query, int positions, const float* totals, int panel = 0) {
    const size_t panel_size = task.cache.capacity * kLanes;
    const int panels = int(divide_up(task.cache.d_head, kLanes));
    float* out = task.out + query * task.out_stride;
    for (; panel + P <= panels; panel += P) {
        Vec sums[M][P];
        clear(sums);
        multiply(task.scores, task.score_stride, static_cast<const Stored*>(task.cache.values) + panel * panel_size, panel_size,
                 positions, sums);
        for (int m = 0; m < M; m++) {
            const Outputs to{out, task.out_stride, task.cache.d_head, nullptr, Epilogue::kStore};
            for (int p = 0; p < P; p++) apply_epilogue(to, m, panel + p, sums[m][p] / broadcast(totals[m]));
        }
    }
    if constexpr (P > 1) {
        if (panel < panels) mix<M, 1, Stored>(task, query, positions, totals, panel);
    }
}

template <class Stored>
void attend_stored(const AttentionTask& task) {
    const float scale = 1.0f / __builtin_sqrtf(float(task.cache.d_head));
    for (int query = 0; query < task.count; query += kFloatRows) {
        with_count<kFloatRows>(task.count - query, [&](auto count) {
            constexpr int M = decltype(count)::value;
            const int positions = task.past + query + M;  // that the last query of the tile sees; what lies above is skipped
            score<M, panels_at_once(M), Stored>(task, query, positions);
            float totals[M];
            for (int m = 0; m < M; m++)
                totals[m] = exponentiate(task.scores + m * task.score_stride, task.past + query + m + 1, positions, scale);
            mix<M, panels_at_once(M), Stored>(task, query, positions, totals);
        });
    }
}

template <class Stored>
void store_kv_as(const HeadCache& cache, int position, const float* key, const float* value) {
    Stored* keys = static_cast<Stored*>(cache.keys) + size_t(position / kLanes) * cache.d_head * kLanes + position % kLanes;
    Stored* values = static_cast<Stored*>(cache.values) + size_t(position) * kLanes;
    for (int first = 0; first < cache.d_head; first += kLanes) {
        const int count = cache.d_head - first < kLanes ? cache.d_head - first : kLanes;
        float k[kLanes] = {}, v[kLanes] = {};
        for (int i = 0; i < count; i++) k[i] = key[first + i], v[i] = value[first + i];
        Stored stored[kLanes];
        store(stored, load(k));
        for (int i = 0; i < count; i++) keys[size_t(first + i) * kLanes] = stored[i];
        store(values + first / kLanes * cache.capacity * kLanes, load(v));
    }
}

void store_kv(const HeadCache& cache, int position, const float* key, const float* value) {
    (cache.half ? store_kv_as<Half> : store_kv_as<float>)(cache, position, key, value);
}

void attend(const AttentionTask& task) { task.cache.half ? attend_stored<Half>(task) : attend_stored<float>(task); }

}  // namespace
}  // namespace cutaway
