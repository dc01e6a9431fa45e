// Zeroed, aligned memory. Large buffers ask for huge pages: a model is read from end to end for every token, and with small
// pages the address translations alone cost a noticeable share of the time.

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

// Many arrays that live as long as their arena. The matrices of a model are smaller than the huge pages are worth asking for;
// side by side in an arena they share them.
class Arena {
  public:
    template <class T>
    T* take(size_t count) {
        const size_t size = round_up(count * sizeof(T), kCacheLine);
        if (size > room_) {
            chunk_size_ = std::max(size, std::min(2 * chunk_size_, kLargestChunk));
            chunks_.emplace_back(chunk_size_);
            next_ = static_cast<char*>(chunks_.back().data());
            room_ = chunk_size_;
        }
        room_ -= size;
        return reinterpret_cast<T*>(std::exchange(next_, next_ + size));
    }

  private:
    static constexpr size_t kCacheLine = 64;
    static constexpr size_t kLargestChunk = 64 << 20;  // what is not used of it is never touched, and so takes no memory

    std::vector<Bytes> chunks_;
    size_t chunk_size_ = 2 << 20;
    char* next_ = nullptr;
    size_t room_ = 0;
};

}  // namespace cutaway
