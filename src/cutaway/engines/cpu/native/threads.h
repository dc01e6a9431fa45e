// A pool of threads that share out the chunks of one stage after another.
//
// A forward pass is some sixty short stages, so handing one over must cost about a microsecond: the threads watch one word in
// memory for a while before they go to sleep, and take chunks from it by adding to it. A descheduled thread does not
// stall the stage: others take its chunks. The pool does not survive fork(): the child has none of its threads.

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

    int size() const { return int(helpers_.size()) + 1; }

    // Call work(chunk, thread) for every chunk of 0 .. chunks - 1, on all threads; the caller is thread 0.
    template <class Work>
    void run(int chunks, const Work& work) {
        if (chunks <= 1 || size() == 1) {
            for (int chunk = 0; chunk < chunks; chunk++) work(chunk, 0);
            return;
        }
        run_stage(chunks, [](const void* w, int chunk, int thread) { (*static_cast<const Work*>(w))(chunk, thread); }, &work);
    }

  private:
    using Call = void (*)(const void* work, int chunk, int thread);

    void run_stage(int chunks, Call call, const void* work);
    bool take_chunk(int thread);
    void help(int thread);
    void sleep();
    void close();
    void wake();

    // Written before stage_ and read only by a thread that holds one of its chunks.
    Call call_ = nullptr;
    const void* work_ = nullptr;

    alignas(64) std::atomic<uint64_t> stage_{0};  // number of chunks << 32 | next chunk
    alignas(64) std::atomic<int> done_{0};        // chunks of this stage that are finished
    alignas(64) std::atomic<int> sleepers_{0};
    std::atomic<bool> closing_{false};
    std::mutex mutex_;
    std::condition_variable work_ready_;
    std::vector<std::thread> helpers_;
};

}  // namespace cutaway
