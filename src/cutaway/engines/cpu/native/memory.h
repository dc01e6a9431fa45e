// Zeroed, aligned memory. Large buffers request huge pages: decoding reads the whole model for every token, and with 4 KiB pages
// TLB misses take a noticeable share of the time.

#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "panels.h"

namespace cutaway {

class Bytes {
  public:
    Bytes() = default;
    explicit Bytes(size_t size);  // throws std::bad_alloc
    ~Bytes();
    Bytes(Bytes&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    Bytes& operator=(Bytes&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        return *this;
    }
    void* data() const { return data_; }

  private:
    void* data_ = nullptr;
    size_t size_ = 0;
};

// `count` zeroed Ts; T is a plain type.
template <class T>
class Buffer {
  public:
    Buffer() = default;
    explicit Buffer(size_t count) : bytes_(count * sizeof(T)), count_(count) {}
    Buffer(Buffer&& other) noexcept : bytes_(std::move(other.bytes_)), count_(std::exchange(other.count_, 0)) {}
    Buffer& operator=(Buffer&& other) noexcept {
        bytes_ = std::move(other.bytes_);
        std::swap(count_, other.count_);
        return *this;
    }
    T* data() const { return static_cast<T*>(bytes_.data()); }
    T& operator[](size_t i) const { return data()[i]; }
    size_t size() const { return count_; }

  private:
    Bytes bytes_;
    size_t count_ = 0;
};

// A bump allocator for arrays that live as long as the arena. A single matrix is too small for huge pages; in an arena many
// matrices share them.
class Arena {
  public:
    template <class T>
    T* allocate(size_t count) {
        const size_t size = round_up(count * sizeof(T), kCacheLine);
        if (size > free_) {
            chunk_size_ = std::max(size, std::min(2 * chunk_size_, kLargestChunk));
            chunks_.emplace_back(chunk_size_);
            next_ = static_cast<char*>(chunks_.back().data());
            free_ = chunk_size_;
        }
        free_ -= size;
        return reinterpret_cast<T*>(std::exchange(next_, next_ + size));
    }

  private:
    static constexpr size_t kCacheLine = 64;
    static constexpr size_t kLargestChunk = 64 << 20;  // the unused end is never touched, so the system provides no pages for it

    std::vector<Bytes> chunks_;
    size_t chunk_size_ = 2 << 20;
    char* next_ = nullptr;
    size_t free_ = 0;
};

}  // namespace cutaway
