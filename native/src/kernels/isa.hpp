// An instruction set is a `struct Isa` of vector types and operations, for which loops.inc compiles the kernels.
//
// A new set is one file like avx2.cpp (KAREC_TARGET, Isa, loops.inc and `table`), its `table` below, and a line in
// kernels.cpp.
//
// Each function has the attribute KAREC_TARGET. Compiler flags for a file would also apply to inline functions of the
// standard library, and the linker may choose these copies for the whole program, which then needs the instructions
// everywhere. GCC and Clang differ in their pragmas, and those do not apply to lambdas. A template cannot take its
// attribute from a parameter, so loops are included as text, into the unnamed namespace of each set.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>

#include "base/fixed_math.hpp"
#include "kernels/kernels.hpp"

#define KAREC_LAMBDA __attribute__((always_inline)) KAREC_TARGET
#define KAREC_INLINE KAREC_LAMBDA inline

namespace karec {

// `Vec` has kLanes float32, `IntVec` kLanes int32, `Doubles` kLanes / 2 float64; all are of GCC's vector types.
template <class Isa>
concept InstructionSet =
    requires(Isa::Vec v, Isa::IntVec ints, Isa::Doubles doubles, const float* floats, const std::uint16_t* halves,
             const std::int8_t* int8s, const std::int16_t* int16s, const IdBucket& bucket, const std::int32_t* rows,
             std::uint64_t* keys, std::size_t& n_selected) {
        requires sizeof v == 4 * Isa::kLanes && sizeof ints == sizeof v && sizeof doubles == sizeof v;

        // fused() is one instruction: loops also use it if two roundings would be right.
        requires std::same_as<decltype(Isa::kHasFma), const bool>;

        { Isa::load_half(halves) } -> std::same_as<decltype(v)>;           // kLanes float16 without infinity and NaN
        { Isa::fused(v, v, v) } -> std::same_as<decltype(v)>;              // a·b + c, rounded once
        { Isa::load_doubles(floats) } -> std::same_as<decltype(doubles)>;  // kLanes / 2 float32
        { Isa::roots(doubles) } -> std::same_as<decltype(doubles)>;

        // kLanes sums of two products row[i]·query[i]; of 2·kLanes elements.
        { Isa::madd(int8s, int16s) } -> std::same_as<decltype(ints)>;

        { Isa::not_below(v, v) } -> std::same_as<std::uint32_t>;                // bit l: not (a[l] < b[l])
        { Isa::equal_keys(bucket, std::int64_t{}) } -> std::same_as<unsigned>;  // bit s < kSlots: keys[s] == id

        // leaves[lowest bit of live] of each lane of live; any leaf if it is 0.
        { Isa::first_leaves(floats, ints) } -> std::same_as<decltype(v)>;

        // The vector part of the kernels with these names: returns how many scores or keys it read, and adds to
        // n_selected. A set without compressing moves inherits NoSelection.
        { Isa::select_scores(floats, rows, 0u, 0u, 0u, keys, n_selected) } -> std::same_as<std::size_t>;
        { Isa::count_keys(keys, 0u, 0u, n_selected) } -> std::same_as<std::size_t>;
        { Isa::select_keys(keys, 0u, 0u, n_selected) } -> std::same_as<std::size_t>;
    };

struct NoSelection {
    static std::size_t select_scores(const auto&...) { return 0; }
    static std::size_t count_keys(const auto&...) { return 0; }
    static std::size_t select_keys(const auto&...) { return 0; }
};

constexpr Kernels with_bounds(const char* isa, const BoundKernels& bounds, Kernels kernels) noexcept {
    kernels.isa = isa;
    kernels.bounds = bounds;
    return kernels;
}

namespace generic {
extern const Kernels table;
}
#if defined(__x86_64__)
namespace avx2 {
extern const Kernels table;
}
namespace avx512 {
extern const Kernels table;
}
#if defined(KAREC_BFLOAT16)
namespace avx512bf16 {
extern const Kernels table;
}
namespace amx {
extern const Kernels table;
}
#endif
#elif defined(__aarch64__)
namespace neon {
extern const Kernels table;
}
namespace neonbf16 {
extern const Kernels table;
}
#endif

}  // namespace karec
