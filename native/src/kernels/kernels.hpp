// The kernels of one instruction set (ISA), and the choice of the set that this process uses.
//
// generic.cpp, avx2.cpp, avx512.cpp and neon.cpp each define a `struct Isa` (kernels/isa.hpp) and compile the same
// loops for it (loops.inc). "avx512bf16" and "amx" are "avx512" with other BoundKernels, as "neonbf16" is "neon". Every
// set gives the same bits: the order of summation does not depend on the vector's width, and BoundKernels, whose sums
// differ, only choose which rows are scored.
//
// Results are those of IEEE arithmetic: round to nearest, subnormal numbers are not flushed to zero.
//
// Threads: all kernels may be called by any thread; they write their output arguments only.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "base/pages.hpp"

namespace karec {

// Items of one packed block: block[d·kBlockItems + i] is dimension d of item i.
inline constexpr std::size_t kBlockItems = 64;

inline constexpr std::size_t kMaxDirections = 8;      // of one call of downdate_rho
inline constexpr std::size_t kColumns = 32;           // queries of one panel
inline constexpr std::size_t kSelectionPadding = 16;  // keys that may be written behind the selected ones
inline constexpr std::size_t kTreeRows = 64;          // rows of one call of sum_leaves
inline constexpr std::size_t kWordLeaves = 32;        // leaves of one TreeWord
inline constexpr std::size_t kTableRows = 128;        // rows of one call of sum_tables
inline constexpr std::size_t kSumColumns = 32;        // sum_rows: the width of a row is a multiple

// Larger for larger scores, never 0. NaN counts as −inf; −0 as +0.
inline std::uint32_t ordered_score(float score) noexcept {
    score = score == score ? score + 0.0f : -std::numeric_limits<float>::infinity();
    const auto bits = std::bit_cast<std::uint32_t>(score);
    const std::uint32_t negative = 0u - (bits >> 31);  // without a branch: signs are as good as random
    return bits ^ (negative | 0x80000000u);
}

inline float score_from_ordered(std::uint32_t ordered) noexcept {
    return std::bit_cast<float>(ordered & 0x80000000u ? ordered & 0x7FFFFFFFu : ~ordered);
}

// A bucket of the id map, in memory and in index files. `overflowed`: a key whose home is this bucket may be in a later
// one.
struct alignas(64) IdBucket {
    static constexpr std::size_t kSlots = 5;
    std::int64_t keys[kSlots];
    std::int32_t rows[kSlots];
    std::uint16_t count;
    std::uint16_t overflowed;
};
static_assert(sizeof(IdBucket) == 64);

// The bucket in which an id is, unless that was full: the finaliser of splitmix64 (Steele, Lea, Flood 2014), then
// Lemire's multiply-high in place of a division.
inline std::size_t home_bucket(std::int64_t id, std::size_t n_buckets) noexcept {
    auto h = static_cast<std::uint64_t>(id);
    h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9u;
    h = (h ^ h >> 27) * 0x94D049BB133111EBu;
    h ^= h >> 31;
    __extension__ using Wide = unsigned __int128;
    return static_cast<std::size_t>(static_cast<Wide>(h) * n_buckets >> 64);
}

// One array with a table of float32 for each code column; several codes may have one entry.
struct TableEntries {
    static constexpr std::size_t kMaxColumns = 16;
    // The entry of a code in column c.
    std::uint32_t find(std::size_t c, std::uint32_t code) const noexcept {
        const std::uint32_t entry = code * factors[c] >> shifts[c];
        return (entry < lasts[c] ? entry : lasts[c]) + firsts[c];
    }
    const float* values;
    std::size_t n_columns;
    std::uint32_t factors[kMaxColumns];
    std::uint32_t shifts[kMaxColumns];
    std::uint32_t lasts[kMaxColumns];
    std::uint32_t firsts[kMaxColumns];
};

// A row whose value in `column` is not ≤ `threshold` can only reach the leaves of `leaves`, a bit each.
struct TreeSplit {
    float threshold;
    std::uint32_t column;
    std::uint32_t leaves;
};

// Leaves 32·w … 32·w + 31 of a tree, and the number of splits that rule some of them out. The words of a tree are in
// descending order of w.
struct TreeWord {
    float leaves[kWordLeaves];
    std::uint32_t n_splits;
    std::uint32_t is_last;  // 1 if w = 0
};

struct BoundInput {
    const void* block;
    const void* panel;
    std::size_t n;  // columns of the panel that have queries, the first ones
    std::size_t dim;
    const float* scales;  // of the 64 rows; null: no scales and no offsets
    const float* offsets;
    const float* cuts;             // of the kColumns columns
    const std::byte* const* next;  // the 64 rows of the next block, or null
    void* next_block;
    std::size_t row_bytes;
};

// Approximate scores of 64 rows and many queries, compared with a cut for each query. search/score_bound.hpp bounds
// their error.
//
// A block has 64 rows, a panel kColumns queries, both with elements of `element_bytes` and zeros behind `dim`, up to a
// multiple of `dim_step`. Elements are float32, or are rounded with `unit_roundoff`.
struct BoundKernels {
    std::size_t element_bytes;
    std::size_t dim_step;
    double unit_roundoff;

    // compare_*() packs the next block and prefetches rows 64 behind it; else it prefetches the rows of the next block.
    // Two blocks of float32 would not fit into the first-level cache.
    bool can_pack_next;

    // Fill a block with rows of float16 (float32), `dim` a multiple of 16. Return the largest ‖row‖² of the 64, a sum
    // of rounded squares in float32.
    float (*pack_float16)(const std::byte* const* rows, std::size_t dim, void* block);
    float (*pack_float32)(const std::byte* const* rows, std::size_t dim, void* block);

    // Writes `query` into a column of a panel that was all zeros.
    void (*write_column)(const float* query, std::size_t dim, std::size_t column, void* panel);

    // values[i·kColumns + c] = ⟨query c, row i⟩·scales[i] + offsets[i]. Bit c of masks[i]: not (value < cuts[c]), so it
    // is set for NaN. Values and bits of columns ≥ n are arbitrary. Bit i of the result: masks[i] ≠ 0. The suffix is
    // the type of the rows in `next`; *next_square is the result of packing them.
    std::uint64_t (*compare_float16)(const BoundInput& in, float* values, std::uint32_t* masks, float* next_square);
    std::uint64_t (*compare_float32)(const BoundInput& in, float* values, std::uint32_t* masks, float* next_square);

    // A thread calls begin() before its first compare_*() and end() after its last one; null if nothing is to be done.
    void (*begin)();
    void (*end)();
};

// Names follow BLAS if BLAS has the operation.
struct Kernels {
    const char* isa;  // "generic", "avx2", "avx512", "avx512bf16", "amx", "neon", "neonbf16"

    // Scoring (scoring_loops.inc).

    // out[i] = ⟨query, rows[i]⟩ of float16 (float32) rows. `dim` is a multiple of 16; query and rows have zeros up to
    // it. `next` is null, or next[i] is prefetched into the second-level cache while row i is read.
    void (*dot_float16)(const std::byte* const* rows, const std::byte* const* next, std::size_t n, const float* query,
                        std::size_t dim, float* out);
    void (*dot_float32)(const std::byte* const* rows, const std::byte* const* next, std::size_t n, const float* query,
                        std::size_t dim, float* out);

    // The same in integers; `dim` is a multiple of 64. The caller bounds the query so that no sum overflows 32 bits.
    void (*dot_int8)(const std::byte* const* rows, const std::byte* const* next, std::size_t n,
                     const std::int16_t* query, std::size_t dim, std::int32_t* out);

    // to[i] = from[i] as float32. No element is infinite or NaN.
    void (*widen)(const std::uint16_t* from, std::size_t n, float* to);

    // out[i] = ⟨query, item i⟩ of a packed block, `dim` a multiple of 16: the same bits as dot_float32 on its rows.
    void (*dot_packed)(const float* block, std::size_t dim, const float* query, float* out);

    // dots[i] += Σ_d direction[d]·block[d·kBlockItems + i], d in order, for each of the kBlockItems items.
    void (*gemv_packed)(const float* block, std::size_t dim, const float* direction, float* dots);

    // Lookup of ids (lookup_loops.inc).

    // rows[i] = the row of ids[i] in *buckets_of_ids[i], or −1. Then buckets_of_ids[i] = the home bucket of next[i],
    // which is prefetched, for i < n_next ≤ n. Writes each i < n whose id is missing though the bucket is overflowed
    // to `displaced` (room for n), ascending, prefetches the bucket behind, and returns their number. Reads no memory
    // outside the buckets, for any contents.
    std::size_t (*find_ids)(const Pages<IdBucket>& buckets, std::size_t n_buckets, const std::int64_t* ids,
                            std::size_t n, const std::int64_t* next, std::size_t n_next,
                            const IdBucket** buckets_of_ids, std::int32_t* rows, std::uint32_t* displaced);

    // Tables of a query (table_loops.inc).

    // sums[i] = ((0 + v_0) + v_1) + … for the values v_c of the entries of the codes rows[i]. These have room for the
    // next power of two of n_columns codes. Prefetches next[i] if `next` is not null. Bit i of `unknown`, kTableRows /
    // 64 words, is set if sum i < n is NaN or +inf. n ≤ kTableRows; `sums` has room for kTableRows, and those from n on
    // are arbitrary.
    void (*sum_tables)(const TableEntries& entries, const std::uint32_t* const* rows, const std::uint32_t* const* next,
                       std::size_t n, float* sums, std::uint64_t* unknown);

    // Top-k (selection_loops.inc).

    // Appends ordered_score(scores[i]) << 32 | first + i to `keys` for each i in order whose ordered score is above
    // `threshold` and, unless `rows` is null, whose rows[i] ≥ 0; returns their number. `keys` has room for n +
    // kSelectionPadding, all of which may be written.
    std::size_t (*select_scores)(const float* scores, const std::int32_t* rows, std::size_t n, std::uint32_t first,
                                 std::uint32_t threshold, std::uint64_t* keys);

    // Returns how many of n keys are ≥ min_key. select_keys also moves them to the front, in order.
    std::size_t (*count_keys)(const std::uint64_t* keys, std::size_t n, std::uint64_t min_key);
    std::size_t (*select_keys)(std::uint64_t* keys, std::size_t n, std::uint64_t min_key);

    // Returns how many of n < 2^31 scores are ≥ min_score; NaN is not.
    std::size_t (*count_scores)(const float* scores, std::size_t n, float min_score);

    // The smallest and the largest score that is not NaN; +inf and −inf if there is none.
    void (*score_range)(const float* scores, std::size_t n, float* smallest, float* largest);

    // DPP, MMR, SSD (diversity_loops.inc).

    // out[r] = ‖rows[r]‖² of n finite rows: eight partial sums, sum j over dimensions j, j + 8, …, and a tree.
    void (*squared_norms_float32)(const void* const* rows, std::size_t n, std::size_t dim, double* out);
    void (*squared_norms_float16)(const void* const* rows, std::size_t n, std::size_t dim, double* out);

    // block[d·kBlockItems + i] = rows[i][d]·scale/√squared_norms[i] for each of the kBlockItems rows, 0 if the norm is
    // 0. The factors are rounded to float32, unless one of them is outside 2^±60: then all are float64.
    void (*pack_float32)(const void* const* rows, const double* squared_norms, double scale, std::size_t dim,
                         float* block);
    void (*pack_float16)(const void* const* rows, const double* squared_norms, double scale, std::size_t dim,
                         float* block);

    // For each of the n ≤ kMaxDirections directions (n, dim), in order: rho[i] -= (start[i] + Σ_d direction[d]·
    // block[d·kBlockItems + i])², d in order, each multiplication and addition rounded once (std::fmaf). `start` is
    // (n, kBlockItems), or nullptr for zeros.
    void (*downdate_rho)(const float* block, std::size_t dim, const float* directions, std::size_t n,
                         const float* start, float* rho);

    // gains[i] = q2[i]·rho[i] if rho[i] > min_rho[i], else 0; returns the largest of the kBlockItems.
    double (*gains)(const double* q2, const float* rho, const float* min_rho, double* gains);

    // out[i] = e^x[i] for x ≤ 0.
    void (*exps)(const double* x, std::size_t n, double* out);

    // Matrices of float64 (matrix_loops.inc).

    // One step of classical Gram–Schmidt: parts[s] = ⟨direction s, feature⟩ and out = feature − Σ_s parts[s]·direction
    // s, for directions (n, dim), in order; returns Σ_s parts[s]².
    double (*gram_schmidt)(const double* directions, std::size_t n, std::size_t dim, const double* feature,
                           double* parts, double* out);

    // out (dim) = from (nullptr = zeros) − Σ_s parts[s]·direction s, in order, of directions `stride` apart; `out` may
    // be `from`.
    void (*gemv_minus)(const double* directions, std::size_t n, std::size_t stride, std::size_t dim, const double* from,
                       const double* parts, double* out);

    // Rank-1 downdate, matrix −= direction·directionᵀ, then out = matrix·feature, rows in order, in one pass over the
    // symmetric matrix; returns ⟨feature, feature − out⟩.
    double (*syr_downdate_symv)(const double* direction, std::size_t dim, double* matrix, const double* feature,
                                double* out);

    // Regression trees (tree_loops.inc).

    // out[r] = Σ of the leaves that row r of the first n ≤ kTreeRows reaches, one of each tree: float32, in the order
    // of the trees, from 0. `columns` is (columns, kTreeRows); `splits` are those of all words, in order. `out` has
    // room for kTreeRows; values from n on are arbitrary.
    void (*sum_leaves)(const float* columns, const TreeWord* words, std::size_t n_words, const TreeSplit* splits,
                       std::size_t n, float* out);

    // Sums of table rows (row_loops.inc).

    // out[i·width + j] = ((0 + weights[r]·rows[r][j]) + weights[r + 1]·rows[r + 1][j]) + … for the rows r of each of n
    // items: those from ends[i − 1], 0 for the first, to ends[i]. Products and sums are rounded. `width` is a multiple
    // of kSumColumns.
    void (*sum_rows)(const float* const* rows, const float* weights, const std::uint32_t* ends, std::size_t n,
                     std::size_t width, float* out);

    BoundKernels bounds;  // bound_loops.inc, bf16_loops.inc, amx_loops.inc
};

// The kernels of the best instruction set that this machine runs, or of the one that KAREC_FORCE_ISA names if the
// machine runs it. Chosen once, at the first call. Linux is asked for AMX's tiles only if "amx" is chosen.
const Kernels& kernels() noexcept;

}  // namespace karec
