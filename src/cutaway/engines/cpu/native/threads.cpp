#include "threads.h"

namespace cutaway {
namespace {

constexpr int kSpins = 5000;  // reads of stage_ before a thread sleeps: about 0.1 ms

void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

bool exhausted(uint64_t stage) { return uint32_t(stage) >= stage >> 32; }

}  // namespace

ThreadPool::ThreadPool(int threads) {
    try {
        for (int thread = 1; thread < threads; thread++) workers_.emplace_back([this, thread] { work(thread); });
    } catch (...) {  // the system allows no more threads: join those that did start
        close();
        throw;
    }
}

ThreadPool::~ThreadPool() { close(); }

void ThreadPool::close() {
    closing_ = true;
    wake();
    for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run_stage(int chunks, Call call, const void* body) {
    call_ = call;
    body_ = body;
    done_.store(0, std::memory_order_relaxed);
    stage_.store(uint64_t(chunks) << 32);
    if (sleepers_.load()) wake();
    while (take_chunk(0)) {
    }
    for (int spins = 0; done_.load(std::memory_order_acquire) < chunks; spins++) {
        pause();
        if (spins > kSpins) std::this_thread::yield();  // the thread with the last chunk may be waiting for this core
    }
}

bool ThreadPool::take_chunk(int thread) {
    if (exhausted(stage_.load(std::memory_order_relaxed))) return false;
    const uint64_t taken = stage_.fetch_add(1, std::memory_order_acq_rel);
    if (exhausted(taken)) return false;
    call_(body_, int(uint32_t(taken)), thread);
    done_.fetch_add(1, std::memory_order_release);
    return true;
}

void ThreadPool::work(int thread) {
    for (int spins = 0; !closing_.load(std::memory_order_relaxed); spins++) {
        if (take_chunk(thread)) {
            spins = 0;
        } else if (spins < kSpins) {
            pause();
        } else {
            sleep();
            spins = 0;
        }
    }
}

// No wake-up is lost: a thread increments sleepers_ before it reads stage_ a last time, and run_stage writes stage_ before it reads
// sleepers_, so at least one of them sees the other's write.
void ThreadPool::sleep() {
    std::unique_lock<std::mutex> lock(mutex_);
    sleepers_++;
    while (!closing_ && exhausted(stage_.load())) work_ready_.wait(lock);
    sleepers_--;
}

void ThreadPool::wake() {
    { std::lock_guard<std::mutex> lock(mutex_); }  // not between a sleeper's last read of stage_ and its wait
    work_ready_.notify_all();
}

}  // namespace cutaway
