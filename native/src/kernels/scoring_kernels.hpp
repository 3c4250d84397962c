// The inner loops, as a table of functions that is chosen once for the machine.
#pragma once

#include <cstddef>
#include <cstdint>

namespace karec {

// Items of one block: block[d·kBlockItems + i] is dimension d of item i.
inline constexpr std::size_t kBlockItems = 64;

struct InnerLoops {
    const char* name;

    // out[i] = ⟨query, rows[i]⟩ of float16 (float32) rows. `dim` is a multiple of 16; query and rows are padded with
    // zeros up to it. `next` is null, or next[i] is fetched into the second-level cache while row i is read.
    void (*dot_float16)(const std::byte* const* rows, const std::byte* const* next, std::size_t n, const float* query,
                        std::size_t dim, float* out);
    void (*dot_float32)(const std::byte* const* rows, const std::byte* const* next, std::size_t n, const float* query,
                        std::size_t dim, float* out);

    // The same in integers; `dim` is a multiple of 64, and no sum leaves 32 bits.
    void (*dot_int8)(const std::byte* const* rows, const std::byte* const* next, std::size_t n,
                     const std::int16_t* query, std::size_t dim, std::int32_t* out);

    // to[i] = from[i] as float32; none is infinite or NaN.
    void (*widen)(const std::uint16_t* from, std::size_t n, float* to);

    // out[i] = what dot_float32 says of row i of a block of kBlockItems rows, for a `dim` that is a multiple of 16.
    void (*dot_packed)(const float* block, std::size_t dim, const float* query, float* out);

    // dots[i] += Σ_d direction[d]·block[d·kBlockItems + i], d in order, for each of the kBlockItems items.
    void (*project)(const float* block, std::size_t dim, const float* direction, float* dots);
};

// The best table that this machine runs, or the one that KAREC_FORCE_ISA names if the machine has it.
const InnerLoops& inner_loops() noexcept;

namespace generic {
extern const InnerLoops table;
}
#if defined(__x86_64__)
namespace avx2 {
extern const InnerLoops table;
}
namespace avx512 {
extern const InnerLoops table;
}
#endif

}  // namespace karec
