#include "threads.h"

namespace cutaway {
namespace {

constexpr int kSpins = 5000;  // looks at the word before giving the processor away: about 0.1 ms

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
        for (int thread = 1; thread < threads; thread++) helpers_.emplace_back([this, thread] { help(thread); });
    } catch (...) {  // the system allows no more threads: take down those that did start
        close();
        throw;
    }
}

ThreadPool::~ThreadPool() { close(); }

void ThreadPool::close() {
    closing_ = true;
    wake();
    for (std::thread& helper : helpers_) helper.join();
}

void ThreadPool::run_stage(int chunks, Call call, const void* work) {
    call_ = call;
    work_ = work;
    done_.store(0, std::memory_order_relaxed);
    stage_.store(uint64_t(chunks) << 32);
    if (sleepers_.load()) wake();
    while (take_chunk(0)) {
    }
    for (int spins = 0; done_.load(std::memory_order_acquire) < chunks; spins++) {
        pause();
        if (spins > kSpins) std::this_thread::yield();  // whoever holds the last chunk may be waiting for this processor
    }
}

bool ThreadPool::take_chunk(int thread) {
    if (exhausted(stage_.load(std::memory_order_relaxed))) return false;
    const uint64_t taken = stage_.fetch_add(1, std::memory_order_acq_rel);
    if (exhausted(taken)) return false;
    call_(work_, int(uint32_t(taken)), thread);
    done_.fetch_add(1, std::memory_order_release);
    return true;
}

void ThreadPool::help(int thread) {
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

// A sleeper counts itself before it looks at the word a last time, and run_stage changes the word before it looks at the count:
// one of them sees the other.
void ThreadPool::sleep() {
    std::unique_lock<std::mutex> lock(mutex_);
    sleepers_++;
    while (!closing_ && exhausted(stage_.load())) work_ready_.wait(lock);
    sleepers_--;
}

void ThreadPool::wake() {
    { std::lock_guard<std::mutex> lock(mutex_); }  // not between a sleeper's last look and its wait
    work_ready_.notify_all();
}

}  // namespace cutaway
