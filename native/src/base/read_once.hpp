// Reads of the caller's arrays, which another thread may write during the call.
#pragma once

namespace karec {

// Reads the value from memory once: the value that is checked is the value in use. The compiler may repeat a plain
// read. Costs as much as one.
template <class T>
T read_once(const T& value) noexcept {
    return __atomic_load_n(&value, __ATOMIC_RELAXED);
}

}  // namespace karec
