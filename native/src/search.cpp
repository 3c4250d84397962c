// Lookup, scores and search: check everything first, then run blocks of dot products into the top-k.
//
// A block's scores stay in the first-level cache between the two. Cost: one pass over the candidates' rows, O(N·D), and
// expected O(N + k log k) for the top-k.
#include <algorithm>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "boundary.hpp"
#include "index_store.hpp"
#include "karec/item_index.hpp"
#include "top_k.hpp"

namespace karec {
namespace {

constexpr std::size_t kBlock = 1024;    // scores at a time
constexpr std::size_t kTileRows = 256;  // rows at a time in a scan for many queries

std::string count(std::size_t n) {
    return std::to_string(n);
}

// Queries as the kernels read them: finite, each padded with zeros to the rows' padded length.
Status pad_queries(const RowStore& rows, std::span<const float> queries, std::size_t n, std::vector<float>& padded) {
    if (queries.size() != n * rows.dim) {
        return Status::invalid("query has " + count(queries.size()) + " values, expected " +
                               (n == 1 ? "" : count(n) + " × ") + count(rows.dim));
    }
    const MatrixView matrix{queries.data(), n, rows.dim, DType::float32};
    Status finite = n == 1 ? check_finite(queries, "query") : check_finite(matrix, "queries");
    if (!finite.ok()) return finite;
    padded.assign(n * rows.padded_dim(), 0.0f);
    for (std::size_t q = 0; q < n; ++q) {
        std::copy_n(queries.data() + q * rows.dim, rows.dim, padded.data() + q * rows.padded_dim());
    }
    return {};
}

Status check_rows(std::span<const std::int32_t> rows, std::size_t n) {
    const auto outside = [n](std::int32_t row) { return row < kUnknownRow || row >= static_cast<std::int64_t>(n); };
    const auto bad = std::find_if(rows.begin(), rows.end(), outside);
    if (bad == rows.end()) return {};
    return Status::invalid("rows holds " + std::to_string(*bad) + " at position " + std::to_string(bad - rows.begin()) +
                           ", expected -1 (unknown) to " + std::to_string(n) + " (exclusive)");
}

Status check_lengths(const char* first, std::size_t n_first, const char* second, std::size_t n_second) {
    if (n_first == n_second) return {};
    return Status::invalid(std::string(first) + " has " + count(n_first) + " entries, " + second + " has " +
                           count(n_second));
}

Status check_ranked(const Ranked& out) {
    if (Status status = check_lengths("out.scores", out.scores.size(), "out.ids", out.ids.size()); !status.ok()) {
        return status;
    }
    if (Status status = check_lengths("out.scores", out.scores.size(), "out.rows", out.rows.size()); !status.ok()) {
        return status;
    }
    return check_lengths("out.scores", out.scores.size(), "out.positions", out.positions.size());
}

}  // namespace

Status ItemIndex::lookup(std::span<const std::int64_t> ids, std::span<std::int32_t> rows) const noexcept {
    return at_boundary([&]() -> Status {
        if (Status status = check_lengths("ids", ids.size(), "rows", rows.size()); !status.ok()) return status;
        find_ids(store_->contents.buckets, ids, rows.data());
        return {};
    });
}

Status ItemIndex::scores(std::span<const float> query, std::span<const std::int32_t> rows,
                         std::span<float> out) const noexcept {
    return at_boundary([&]() -> Status {
        const RowStore& store = store_->contents.rows;
        std::vector<float> padded;
        if (Status status = pad_queries(store, query, 1, padded); !status.ok()) return status;
        if (Status status = check_lengths("rows", rows.size(), "out", out.size()); !status.ok()) return status;
        if (Status status = check_rows(rows, store.n); !status.ok()) return status;
        store.dot(padded.data(), rows.data(), rows.size(), out.data());
        for (float& score : out) {
            if (score != score) score = -std::numeric_limits<float>::infinity();
        }
        return {};
    });
}

Result<SearchCount> ItemIndex::search(std::span<const float> query, std::span<const std::int32_t> rows,
                                      const Ranked& out) const noexcept {
    return at_boundary([&]() -> Result<SearchCount> {
        const RowStore& store = store_->contents.rows;
        std::vector<float> padded;
        if (Status status = pad_queries(store, query, 1, padded); !status.ok()) return status;
        if (Status status = check_ranked(out); !status.ok()) return status;
        if (Status status = check_rows(rows, store.n); !status.ok()) return status;
        if (rows.size() > std::numeric_limits<std::uint32_t>::max()) {
            return Status::invalid("a search takes at most 2^32 − 1 candidates, got " + count(rows.size()));
        }
        const std::span<const std::int64_t> ids = store_->contents.ids;
        SearchCount counts;
        TopK top(std::min(out.scores.size(), rows.size()), rows.size());
        float scores[kBlock];
        for (std::size_t start = 0; start < rows.size(); start += kBlock) {
            const std::size_t n = std::min(kBlock, rows.size() - start);
            store.dot(padded.data(), rows.data() + start, n, scores);
            for (std::size_t i = 0; i < n; ++i) {
                if (rows[start + i] == kUnknownRow) {
                    ++counts.unknown;
                } else {
                    top.offer(scores[i], static_cast<std::uint32_t>(start + i));
                }
            }
        }
        counts.found = top.finish([&](std::size_t rank, float score, std::uint32_t position) {
            out.scores[rank] = score;
            out.ids[rank] = ids[static_cast<std::size_t>(rows[position])];
            out.rows[rank] = rows[position];
            out.positions[rank] = position;
        });
        return counts;
    });
}

Status ItemIndex::search_all(std::span<const float> queries, std::size_t n_queries, std::span<const std::uint8_t> mask,
                             const Ranked& out, std::span<std::size_t> found) const noexcept {
    return at_boundary([&]() -> Status {
        const RowStore& store = store_->contents.rows;
        std::vector<float> padded;
        if (Status status = pad_queries(store, queries, n_queries, padded); !status.ok()) return status;
        if (Status status = check_ranked(out); !status.ok()) return status;
        if (Status status = check_lengths("found", found.size(), "queries", n_queries); !status.ok()) return status;
        if (!mask.empty()) {
            if (Status status = check_lengths("mask", mask.size(), "index", store.n); !status.ok()) return status;
        }
        if (n_queries == 0) return {};
        if (out.scores.size() % n_queries != 0) {
            return Status::invalid("out has " + count(out.scores.size()) + " entries, expected the same number for " +
                                   count(n_queries) + " queries");
        }
        const std::size_t k = out.scores.size() / n_queries;
        std::vector<TopK> tops;
        tops.reserve(n_queries);
        for (std::size_t q = 0; q < n_queries; ++q) tops.emplace_back(std::min(k, store.n), store.n);
        float scores[kTileRows];
        for (std::size_t start = 0; start < store.n; start += kTileRows) {
            const std::size_t n = std::min(kTileRows, store.n - start);
            for (std::size_t q = 0; q < n_queries; ++q) {
                store.dot_range(padded.data() + q * store.padded_dim(), start, n, scores);
                for (std::size_t i = 0; i < n; ++i) {
                    if (mask.empty() || mask[start + i])
                        tops[q].offer(scores[i], static_cast<std::uint32_t>(start + i));
                }
            }
        }
        std::fill(out.scores.begin(), out.scores.end(), -std::numeric_limits<float>::infinity());
        std::fill(out.ids.begin(), out.ids.end(), -1);
        std::fill(out.rows.begin(), out.rows.end(), kUnknownRow);
        std::fill(out.positions.begin(), out.positions.end(), -1);
        for (std::size_t q = 0; q < n_queries; ++q) {
            found[q] = tops[q].finish([&](std::size_t rank, float score, std::uint32_t position) {
                out.scores[q * k + rank] = score;
                out.ids[q * k + rank] = store_->contents.ids[position];
                out.rows[q * k + rank] = static_cast<std::int32_t>(position);
                out.positions[q * k + rank] = position;
            });
        }
        return {};
    });
}

Status ItemIndex::gather(std::span<const std::int32_t> rows, std::span<float> out) const noexcept {
    return at_boundary([&]() -> Status {
        const RowStore& store = store_->contents.rows;
        if (Status status = check_lengths("rows × dimensions", rows.size() * store.dim, "out", out.size());
            !status.ok()) {
            return status;
        }
        if (Status status = check_rows(rows, store.n); !status.ok()) return status;
        for (std::size_t i = 0; i < rows.size(); ++i) {
            float* to = out.data() + i * store.dim;
            if (rows[i] == kUnknownRow) {
                std::fill_n(to, store.dim, 0.0f);
            } else {
                store.decode(static_cast<std::size_t>(rows[i]), to);
            }
        }
        return {};
    });
}

}  // namespace karec
