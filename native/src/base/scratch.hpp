// Memory of one call, which its thread keeps for its next calls: after the first ones a search allocates nothing.
//
// Invariants:
//   - A block has a power of two of bytes, at least a cache line, and is aligned to cache lines.
//   - A thread keeps at most 32 MiB of blocks, and frees them when it ends. Larger blocks go back to the heap at once.
//   - A block may be given back on another thread than it was taken on.
#pragma once

#include <cstddef>
#include <new>
#include <utility>
#include <vector>

namespace karec {

void* take_scratch(std::size_t bytes);  // aligned to cache lines; throws std::bad_alloc
void give_scratch(void* memory, std::size_t bytes) noexcept;

template <class T>
struct ScratchAllocator {
    using value_type = T;
    ScratchAllocator() = default;
    template <class U>
    ScratchAllocator(const ScratchAllocator<U>&) noexcept {}

    T* allocate(std::size_t n) {
        if (n > static_cast<std::size_t>(-1) / 2 / sizeof(T)) throw std::bad_alloc();
        return static_cast<T*>(take_scratch(n * sizeof(T)));
    }
    void deallocate(T* block, std::size_t n) noexcept { give_scratch(static_cast<void*>(block), n * sizeof(T)); }

    template <class U>
    bool operator==(const ScratchAllocator<U>&) const noexcept {
        return true;
    }
};

// n elements, not initialised.
template <class T>
class ScratchArray {
  public:
    ScratchArray() = default;
    explicit ScratchArray(std::size_t n) : elements_(ScratchAllocator<T>().allocate(n)), n_(n) {}
    ScratchArray(ScratchArray&& other) noexcept { swap(other); }
    ScratchArray& operator=(ScratchArray&& other) noexcept {
        swap(other);
        return *this;
    }
    ~ScratchArray() {
        if (elements_ != nullptr) ScratchAllocator<T>().deallocate(elements_, n_);
    }
    void swap(ScratchArray& other) noexcept {
        std::swap(elements_, other.elements_);
        std::swap(n_, other.n_);
    }
    T& operator[](std::size_t i) noexcept { return elements_[i]; }
    const T& operator[](std::size_t i) const noexcept { return elements_[i]; }

  private:
    T* elements_ = nullptr;
    std::size_t n_ = 0;
};

template <class T>
using ScratchVector = std::vector<T, ScratchAllocator<T>>;

}  // namespace karec
