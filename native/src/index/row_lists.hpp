// RowLists groups rows in lists around centroids (an inverted file): a search scores the rows of the lists whose
// centroids have the largest inner products with its query.
//
// A list is a range of rows: rows are stored in the order of their lists, so that a list is read as fast as a scan.
// Rows that are written later have the number of their list (Generation::list_of).
//
// Invariants
//   - 1 ≤ n() ≤ kMaxLists. `ends` has n() + 1 ascending elements: list l has the rows from begin(l) to ends[l] − 1.
//   - List n() has the rows in no list: vectors of other model versions, which are in another space than the centroids.
//   - Centroids are finite.
// Source  Jégou, Douze, Schmid, Product quantization for nearest neighbor search, TPAMI 2011, section IV.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "index/row_format.hpp"

namespace karec {

struct Generation;

inline constexpr std::size_t kMaxLists = 65535;  // a list number has 16 bits, n() included

// Immutable once it is part of a generation.
struct RowLists {
    RowLists(RowFormat row_format, std::int64_t version, std::vector<float> padded_centroids);

    std::size_t n() const noexcept { return half_norms.size(); }
    // Rows in ranges, with that of list n().
    std::size_t n_ranged_rows() const noexcept { return static_cast<std::size_t>(ends.back()); }
    std::size_t begin(std::size_t list) const noexcept { return list == 0 ? 0 : end(list - 1); }
    std::size_t end(std::size_t list) const noexcept { return static_cast<std::size_t>(ends[list]); }
    const float* centroid(std::size_t list) const noexcept { return &centroids[list * format.padded_dim()]; }
    // The list whose range has `row` < n_ranged_rows().
    std::size_t find_list(std::size_t row) const noexcept;

    // dots[l] = ⟨x, centroid l⟩ as dot_float32; x has padded_dim() values, zeros behind the last.
    void dot_all(const float* x, float* dots) const noexcept;

    // list_numbers[i] = the list whose centroid is nearest to the vector in rows[i] of g; the lowest of equal ones.
    // O(rows·n·D).
    void find_nearest(const Generation& g, std::span<const std::int32_t> rows,
                      std::span<std::uint16_t> list_numbers) const;

    std::size_t bytes() const noexcept;

    RowFormat format;                // of centroids: float32
    std::int64_t model_version;      // of the vectors in lists
    std::vector<float> centroids;    // (n, padded_dim)
    std::vector<float> half_norms;   // ½·⟨c, c⟩, summed in double in order of dimension
    std::vector<std::int64_t> ends;  // by list, then of the rows in none
};

// x (padded_dim of float32) = the vector in `row` of g, padded with zeros.
void read_vector(const Generation& g, std::size_t row, float* x) noexcept;

// Centroids (n_lists, padded_dim) of the vectors in `rows`, by k-means on a sample: the same input, the same bits.
// O(kRounds·kSample·n_lists²·D).
std::vector<float> train_centroids(const Generation& g, std::span<const std::int32_t> rows, std::size_t n_lists,
                                   std::uint64_t seed);

}  // namespace karec
