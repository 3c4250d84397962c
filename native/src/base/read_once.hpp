// Reads of arrays that their owner may write to while a call runs.
#pragma once

namespace karec {

// The value, read from memory once: what is checked afterwards is what is used. A plain read may be repeated by the
// compiler. Costs no more than a plain read.
template <class T>
T read_once(const T& value) noexcept {
    return __atomic_load_n(&value, __ATOMIC_RELAXED);
}

}  // namespace karec
