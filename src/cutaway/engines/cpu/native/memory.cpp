#include "memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <new>

namespace cutaway {
namespace {

constexpr size_t kCacheLine = 64;
constexpr size_t kHugePage = 2 << 20;
constexpr size_t kLarge = 2 * kHugePage;  // from this size on memory is mapped: the system zeroes pages when they are touched

void* map_pages(size_t size) {
    char* start = static_cast<char*>(mmap(nullptr, size + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (start == MAP_FAILED) throw std::bad_alloc();
    const size_t before = round_up(reinterpret_cast<size_t>(start), kHugePage) - reinterpret_cast<size_t>(start);
    if (before) munmap(start, before);
    if (before < kHugePage) munmap(start + before + size, kHugePage - before);
#if defined(MADV_HUGEPAGE)
    madvise(start + before, size, MADV_HUGEPAGE);
#endif
    return start + before;
}

}  // namespace

Bytes::Bytes(size_t size) : size_(round_up(size, size < kLarge ? kCacheLine : kHugePage)) {
    if (size_ >= kLarge) {
        data_ = map_pages(size_);
    } else if (size_) {
        data_ = std::aligned_alloc(kCacheLine, size_);
        if (!data_) throw std::bad_alloc();
        std::memset(data_, 0, size_);
    }
}

Bytes::~Bytes() {
    if (size_ >= kLarge) munmap(data_, size_);
    else std::free(data_);
}

}  // namespace cutaway
