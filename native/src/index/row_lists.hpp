// Lists of rows around centroids (an inverted file): a search scores the rows of the lists that lie nearest to its
// query (Jégou, Douze, Schmid, "Product quantization for nearest neighbor search", 2011, section IV).
//
// A list is a range of rows: rows are stored in the order of their lists, so that a list is read as fast as a scan, and
// vectors lie there once. Rows that are written later say for themselves which list they are in (Generation::list_of).
//
// Invariants:
//   - 1 ≤ n() ≤ kMaxLists. ends has n() + 1 elements, which never fall: list l has the rows from begin(l) to ends[l]
//   − 1.
//   - List n() has the rows that are in no list: vectors of other model versions, which centroids say nothing of.
//   - Centroids are finite.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "index/row_format.hpp"

namespace karec {

struct Generation;

inline constexpr std::size_t kMaxLists = 65535;  // a list's number has 16 bits, n() included

struct RowLists {
    RowLists(RowFormat row_format, std::int64_t version, std::vector<float> padded_centroids);

    std::size_t n() const noexcept { return half_norms.size(); }
    // Rows that lie in ranges, that of list n() among them.
    std::size_t n_ranged_rows() const noexcept { return static_cast<std::size_t>(ends.back()); }
    std::size_t begin(std::size_t list) const noexcept { return list == 0 ? 0 : end(list - 1); }
    std::size_t end(std::size_t list) const noexcept { return static_cast<std::size_t>(ends[list]); }
    const float* centroid(std::size_t list) const noexcept { return &centroids[list * format.padded_dim()]; }
    // The list whose range has `row` < n_ranged_rows().
    std::size_t list_with(std::size_t row) const noexcept;

    // dots[l] = ⟨x, centroid l⟩ as dot_float32; x has padded_dim() values, zeros behind the last.
    void dot_all(const float* x, float* dots) const noexcept;

    // of[i] = the list whose centroid lies nearest to the vector in rows[i] of g; of equal ones the lowest.
    // O(rows·n·D); each chunk of 64 rows is packed once.
    void nearest(const Generation& g, std::span<const std::int32_t> rows, std::span<std::uint16_t> of) const;

    std::size_t bytes() const noexcept;

    RowFormat format;                // of centroids: float32
    std::int64_t model_version;      // of the vectors that are in lists
    std::vector<float> centroids;    // (n, padded_dim)
    std::vector<float> half_norms;   // ½·⟨c, c⟩, summed in double in order of dimension
    std::vector<std::int64_t> ends;  // by list, then of the rows in none
};

// The vector in `row` of g as centroids are made of it: padded to a multiple of 16 with zeros.
void listed_vector(const Generation& g, std::size_t row, float* x) noexcept;

// Centroids of the vectors in `rows` by k-means (Lloyd 1982) on a sample: the same input, the same bits. (n_lists,
// padded_dim). O(kRounds·kSample·n_lists²·D).
std::vector<float> trained_centroids(const Generation& g, std::span<const std::int32_t> rows, std::size_t n_lists,
                                     std::uint64_t seed);

}  // namespace karec
