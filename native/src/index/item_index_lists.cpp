// ItemIndex::build_lists: centroids and lists from a held generation, then one transaction in which all works move.
#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/boundary.hpp"
#include "index/generation_store.hpp"
#include "index/index_checks.hpp"
#include "karec/item_index.hpp"

namespace karec {
namespace {

constexpr double kListsPerRoot = 4.0;  // of the number of works

Result<std::size_t> number_of_lists(std::size_t wanted, std::size_t works, std::int64_t version) {
    const std::size_t most = std::min(works, kMaxLists);
    if (works == 0) {
        return Status::invalid("the index has no works of model version " + std::to_string(version) +
                               " to put into lists");
    }
    if (wanted > most) {
        return Status::invalid("n_lists is " + std::to_string(wanted) + ", expected 1 to " + std::to_string(most) +
                               ": the index has " + std::to_string(works) + " works of model version " +
                               std::to_string(version));
    }
    if (wanted > 0) return wanted;
    const auto usual = static_cast<std::size_t>(std::lround(kListsPerRoot * std::sqrt(static_cast<double>(works))));
    return std::min(usual, most);
}

// The rows of g whose vectors are of `version`, out of `rows`.
std::vector<std::int32_t> of_version(const Generation& g, std::span<const std::int32_t> rows, std::int64_t version) {
    std::vector<std::int32_t> own;
    for (const std::int32_t row : rows) {
        if (g.versions[g.code_of(static_cast<std::size_t>(row))].number == version) own.push_back(row);
    }
    return own;
}

}  // namespace

Status ItemIndex::build_lists(const ListOptions& options) noexcept {
    return at_boundary([&]() -> Status {
        std::optional<IndexView> view(pinned());
        const Generation& g = *view->generation_;
        if (Status status = check_map(g); !status.ok()) return status;
        const std::int64_t version = g.model_version;
        const std::vector<std::int32_t> rows = of_version(g, g.rows_with_works(), version);
        const auto n_lists = number_of_lists(options.n_lists, rows.size(), version);
        if (!n_lists.ok()) return n_lists.status();
        RowLists made(g.exact_format(), version, trained_centroids(g, rows, n_lists.value(), options.seed));
        const auto none = static_cast<std::uint16_t>(made.n());
        std::vector<std::uint16_t> of(rows.size());
        made.nearest(g, rows, of);
        std::vector<std::uint16_t> of_row(g.n_rows(), none);
        for (std::size_t i = 0; i < rows.size(); ++i) of_row[static_cast<std::size_t>(rows[i])] = of[i];

        GenerationStore::WriteTransaction transaction(*store_);
        const std::vector<std::int32_t> all = transaction->rows_with_works();
        // A row that the view shows holds the same vector as long as the view lives; others were written meanwhile.
        const auto shown = [&](std::size_t row) { return row < g.n_rows() && !g.removed.has(row); };
        std::vector<std::int32_t> later;
        for (const std::int32_t row : all) {
            if (!shown(static_cast<std::size_t>(row))) later.push_back(row);
        }
        later = of_version(*transaction, later, version);
        of_row.resize(std::max(of_row.size(), transaction->n_rows()), none);
        of.resize(later.size());
        made.nearest(*transaction, later, of);
        for (std::size_t i = 0; i < later.size(); ++i) of_row[static_cast<std::size_t>(later[i])] = of[i];
        of.resize(all.size());
        for (std::size_t i = 0; i < all.size(); ++i) of[i] = of_row[static_cast<std::size_t>(all[i])];
        transaction.replace(transaction->in_lists(std::move(made), all, of));
        view.reset();  // so that the commit frees the generation
        transaction.commit();
        return {};
    });
}

}  // namespace karec
