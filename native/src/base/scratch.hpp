// Scratch memory of a call. The thread reuses it in later calls: after the first ones a search allocates nothing.
//
// Invariants:
//   - A block has a power of two of bytes, at least a cache line, and is aligned to cache lines.
//   - A thread keeps at most 32 MiB of free blocks until it ends. Larger blocks are freed at once.
//   - A block may be freed on another thread than the one that allocated it.
#pragma once

#include <cstddef>
#include <new>
#include <utility>
#include <vector>

namespace karec {

void* allocate_scratch(std::size_t bytes);  // aligned to cache lines; throws std::bad_alloc
void free_scratch(void* memory, std::size_t bytes) noexcept;

template <class T>
struct ScratchAllocator {
    using value_type = T;
    ScratchAllocator() = default;
    template <class U>
    ScratchAllocator(const ScratchAllocator<U>&) noexcept {}

    T* allocate(std::size_t n) {
        if (n > static_cast<std::size_t>(-1) / 2 / sizeof(T)) throw std::bad_alloc();
        return static_cast<T*>(allocate_scratch(n * sizeof(T)));
    }
    void deallocate(T* block, std::size_t n) noexcept { free_scratch(static_cast<void*>(block), n * sizeof(T)); }

    template <class U>
    bool operator==(const ScratchAllocator<U>&) const noexcept {
        return true;
    }
};

template <class T>
using ScratchVector = std::vector<T, ScratchAllocator<T>>;

// n elements, not initialised.
template <class T>
class ScratchArray {
  public:
    ScratchArray() = default;
    explicit ScratchArray(std::size_t n) : elements_(ScratchAllocator<T>().allocate(n)), n_(n) {}
    ScratchArray(ScratchArray&& other) noexcept
        : elements_(std::exchange(other.elements_, nullptr)), n_(std::exchange(other.n_, 0)) {}
    ScratchArray& operator=(ScratchArray&& other) noexcept {
        std::swap(elements_, other.elements_);
        std::swap(n_, other.n_);
        return *this;
    }
    ~ScratchArray() {
        if (elements_ != nullptr) ScratchAllocator<T>().deallocate(elements_, n_);
    }
    T& operator[](std::size_t i) noexcept { return elements_[i]; }
    const T& operator[](std::size_t i) const noexcept { return elements_[i]; }

  private:
    T* elements_ = nullptr;
    std::size_t n_ = 0;
};

}  // namespace karec
