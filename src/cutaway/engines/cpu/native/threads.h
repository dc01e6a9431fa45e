// A thread pool with dynamic scheduling: threads take chunks of the current stage from an atomic counter.
//
// A forward pass has some sixty short stages, so starting one must cost about a microsecond: idle threads spin on the counter for
// 0.1 ms before they sleep. A descheduled thread does not stall the stage: others take its chunks. The pool does not survive
// fork(): the child has none of its threads.

#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace cutaway {

class ThreadPool {
  public:
    explicit ThreadPool(int threads);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    int size() const { return int(workers_.size()) + 1; }

    // Call body(chunk, thread) for each chunk in [0, chunks) on all threads and wait; the caller is thread 0.
    template <class Body>
    void parallel_for(int chunks, const Body& body) {
        if (chunks <= 1 || size() == 1) {
            for (int chunk = 0; chunk < chunks; chunk++) body(chunk, 0);
            return;
        }
        run_stage(chunks, [](const void* b, int chunk, int thread) { (*static_cast<const Body*>(b))(chunk, thread); }, &body);
    }

  private:
    using Call = void (*)(const void* body, int chunk, int thread);

    void run_stage(int chunks, Call call, const void* body);
    bool take_chunk(int thread);
    void work(int thread);
    void sleep();
    void close();
    void wake();

    // Written before stage_, and read only by threads that have taken a chunk of it.
    Call call_ = nullptr;
    const void* body_ = nullptr;

    alignas(64) std::atomic<uint64_t> stage_{0};  // number of chunks << 32 | next chunk
    alignas(64) std::atomic<int> done_{0};        // finished chunks of this stage
    alignas(64) std::atomic<int> sleepers_{0};
    std::atomic<bool> closing_{false};
    std::mutex mutex_;
    std::condition_variable work_ready_;
    std::vector<std::thread> workers_;
};

}  // namespace cutaway
