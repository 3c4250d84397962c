// dpp_select_batch: dpp_select user by user, each on its part of the input (CSR).
#include <string>
#include <vector>

#include "base/boundary.hpp"
#include "base/checks.hpp"
#include "diversity/dpp_problem.hpp"
#include "karec/dpp.hpp"

namespace karec {
namespace {

MatrixView rows_of(const MatrixView& matrix, std::int64_t first, std::int64_t end) {
    const auto at = static_cast<std::size_t>(first) * matrix.cols * size_of(matrix.dtype);
    return {static_cast<const std::byte*>(matrix.data) + at, static_cast<std::size_t>(end - first), matrix.cols,
            matrix.dtype};
}

// Columns first … first + n − 1 of codes (F, total).
std::vector<std::int64_t> part_of(std::span<const std::int64_t> codes, std::size_t total, std::size_t first,
                                  std::size_t n) {
    std::vector<std::int64_t> part;
    for (std::size_t row = 0; row < codes.size(); row += total) {
        const auto own = codes.subspan(row + first, n);
        part.insert(part.end(), own.begin(), own.end());
    }
    return part;
}

}  // namespace

Status dpp_select_batch(MatrixView embeddings, std::span<const float> relevance, std::span<const std::int64_t> indptr,
                        std::span<const std::int64_t> shown_indptr, const DppOptions& options,
                        std::span<std::int64_t> indices, std::span<double> gains, std::span<DppCount> counts) noexcept {
    return at_boundary([&]() -> Status {
        // Copied, so that the offsets that are checked are the offsets that are read.
        const std::vector<std::int64_t> starts(indptr.begin(), indptr.end());
        const std::vector<std::int64_t> shown_starts(shown_indptr.begin(), shown_indptr.end());
        const std::size_t n_users = counts.size();
        if (indices.size() != gains.size() || (n_users == 0 ? !indices.empty() : indices.size() % n_users != 0)) {
            return Status::invalid("indices and gains must both hold k places for each of counts");
        }
        if (Status status = check_indptr("indptr", starts, n_users, embeddings.rows); !status.ok()) return status;
        if (!shown_starts.empty() || options.shown.rows > 0) {
            Status status = check_indptr("shown_indptr", shown_starts, n_users, options.shown.rows);
            if (!status.ok()) return status;
        }
        if (Status status = check_float(embeddings, "embeddings"); !status.ok()) return status;
        if (Status status = check_float(options.shown, "shown"); !status.ok()) return status;
        if (Status status = check_dpp_lengths(embeddings, relevance, options); !status.ok()) return status;
        for (std::size_t user = 0; user < n_users; ++user) {
            const std::size_t k = indices.size() / n_users;
            const auto first = static_cast<std::size_t>(starts[user]);
            const std::size_t n = static_cast<std::size_t>(starts[user + 1]) - first;
            DppOptions own = options;
            if (!options.weights.empty()) own.weights = options.weights.subspan(first, n);
            if (!options.types.empty()) own.types = options.types.subspan(first, n);
            std::vector<std::int64_t> facets = part_of(options.facets, embeddings.rows, first, n);
            std::vector<std::int64_t> shown_facets;
            if (!shown_starts.empty()) {
                const auto shown_first = static_cast<std::size_t>(shown_starts[user]);
                const std::size_t n_shown = static_cast<std::size_t>(shown_starts[user + 1]) - shown_first;
                shown_facets = part_of(options.shown_facets, options.shown.rows, shown_first, n_shown);
            }
            own.facets = facets;
            own.shown_facets = shown_facets;
            if (!shown_starts.empty()) own.shown = rows_of(options.shown, shown_starts[user], shown_starts[user + 1]);
            const auto picks = indices.subspan(user * k, k);
            const auto own_gains = gains.subspan(user * k, k);
            const auto count = dpp_select(rows_of(embeddings, starts[user], starts[user + 1]),
                                          relevance.subspan(first, n), own, picks, own_gains);
            if (!count.ok()) {
                return {count.status().code(), "user " + std::to_string(user) + ": " + count.status().message()};
            }
            counts[user] = count.value();
            for (std::size_t t = 0; t < k; ++t) {
                picks[t] = t < count->selected ? picks[t] + starts[user] : -1;
                if (t >= count->selected) own_gains[t] = 0.0;
            }
        }
        return {};
    });
}

}  // namespace karec
