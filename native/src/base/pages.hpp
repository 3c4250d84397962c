// The addresses of the elements of an array in pages, as values that a writing loop can hold in registers.
#pragma once

#include <cstddef>

namespace karec {

template <class T>
struct Pages {
    const T* const* data;  // of each page
    unsigned shift;        // a page has 2^shift elements
    std::size_t width;     // Ts an element

    const T* at(std::size_t i) const noexcept {
        return data[i >> shift] + (i & ((std::size_t{1} << shift) - 1)) * width;
    }
};

}  // namespace karec
