// ItemIndex::build_lists: trains centroids on a pinned generation, then moves all items in one transaction.
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

constexpr double kListsPerRoot = 4.0;  // default number of lists per √items

Result<std::size_t> choose_n_lists(std::size_t n_lists, std::size_t n_items, std::int64_t version) {
    const std::size_t max_lists = std::min(n_items, kMaxLists);
    const std::string of_version = " items of model version " + std::to_string(version);
    if (n_items == 0) return Status::invalid("the index has no" + of_version + " to put into lists");
    if (n_lists > max_lists) {
        return Status::invalid("n_lists is " + std::to_string(n_lists) + ", expected 1 to " +
                               std::to_string(max_lists) + ": the index has " + std::to_string(n_items) + of_version);
    }
    if (n_lists > 0) return n_lists;
    const double by_default = kListsPerRoot * std::sqrt(static_cast<double>(n_items));
    return std::min(static_cast<std::size_t>(std::lround(by_default)), max_lists);
}

// The rows, out of `rows`, whose vectors are of `version`.
std::vector<std::int32_t> select_version(const Generation& g, std::span<const std::int32_t> rows,
                                         std::int64_t version) {
    std::vector<std::int32_t> selected;
    std::ranges::copy_if(rows, std::back_inserter(selected), [&](std::int32_t row) {
        return g.versions[g.code_of(static_cast<std::size_t>(row))].number == version;
    });
    return selected;
}

// list_by_row[row] = the list of each of `rows`.
void find_lists(const RowLists& lists, const Generation& g, std::span<const std::int32_t> rows,
                std::vector<std::uint16_t>& list_by_row) {
    std::vector<std::uint16_t> list_numbers(rows.size());
    lists.find_nearest(g, rows, list_numbers);
    for (std::size_t i = 0; i < rows.size(); ++i) list_by_row[static_cast<std::size_t>(rows[i])] = list_numbers[i];
}

}  // namespace

Status ItemIndex::build_lists(const ListOptions& options) noexcept {
    return at_boundary([&]() -> Status {
        std::optional<IndexView> view(pinned());
        const Generation& g = *view->generation_;
        if (Status status = check_map(g); !status.ok()) return status;
        const std::int64_t version = g.model_version;
        const std::vector<std::int32_t> rows = select_version(g, g.item_rows(), version);
        const auto n_lists = choose_n_lists(options.n_lists, rows.size(), version);
        if (!n_lists.ok()) return n_lists.status();
        RowLists lists(g.exact_format(), version, train_centroids(g, rows, n_lists.value(), options.seed));
        const auto no_list = static_cast<std::uint16_t>(lists.n());
        std::vector<std::uint16_t> list_by_row(g.n_rows(), no_list);
        find_lists(lists, g, rows, list_by_row);

        GenerationStore::WriteTransaction transaction(*store_);
        const std::vector<std::int32_t> all_rows = transaction->item_rows();
        // A row with an item in the view has the same vector while the view exists; others were written later.
        std::vector<std::int32_t> later_rows;
        std::ranges::copy_if(all_rows, std::back_inserter(later_rows), [&](std::int32_t row) {
            return static_cast<std::size_t>(row) >= g.n_rows() || g.removed.has(static_cast<std::size_t>(row));
        });
        list_by_row.resize(std::max(list_by_row.size(), transaction->n_rows()), no_list);
        find_lists(lists, *transaction, select_version(*transaction, later_rows, version), list_by_row);
        std::vector<std::uint16_t> list_numbers;
        list_numbers.reserve(all_rows.size());
        for (const std::int32_t row : all_rows) list_numbers.push_back(list_by_row[static_cast<std::size_t>(row)]);
        transaction.replace(transaction->copy_into_lists(std::move(lists), all_rows, list_numbers));
        view.reset();  // so that the commit frees the generation
        transaction.commit();
        return {};
    });
}

}  // namespace karec
