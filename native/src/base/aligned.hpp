// Arrays aligned to cache lines: a load of 64 bytes that crosses two lines takes twice as long.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace karec {

struct FreeAligned {
    void operator()(void* memory) const noexcept { ::operator delete[](memory, std::align_val_t{64}); }
};

template <class T>
using Aligned = std::unique_ptr<T[], FreeAligned>;

// Not initialised. Throws std::bad_alloc.
template <class T>
Aligned<T> aligned(std::size_t n) {
    return Aligned<T>(static_cast<T*>(::operator new[](n * sizeof(T), std::align_val_t{64})));
}

}  // namespace karec
