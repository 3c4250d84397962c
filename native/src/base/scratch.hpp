// Memory for the length of one call, which its thread keeps for its next call: after the first ones a search asks the
// heap for nothing.
//
// Blocks are powers of two, at least a cache line; a thread keeps up to 32 MiB of them and frees them when it ends.
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

// n elements, not set to anything.
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

  private:
    T* elements_ = nullptr;
    std::size_t n_ = 0;
};

template <class T>
using ScratchVector = std::vector<T, ScratchAllocator<T>>;

}  // namespace karec
