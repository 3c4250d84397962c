// Searches of an index for Python: check the arrays, release the GIL, call the library.
#include <pybind11/stl.h>

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>

#include "reading.hpp"
#include "search/search_checks.hpp"

namespace karec::python {
namespace {

// One array for all rows (version nullopt), or one for each model version.
using VersionArrays = std::vector<std::pair<std::optional<std::int64_t>, py::object>>;

// For each of VersionArrays, for each query, for each code column of the index: codes, values, other. Empty: no tables.
using TableArrays = std::vector<std::vector<std::vector<std::tuple<py::object, py::object, float>>>>;

// Queries as views of the arrays: one query of shape (D,), or several of shape (B, D).
class Queries {
  public:
    Queries(const VersionArrays& version_arrays, const TableArrays& table_arrays, const IndexView& view, bool is_single)
        : is_single_(is_single) {
        const auto has_version = [](const auto& query) { return query.first.has_value(); };
        if (version_arrays.size() != 1 &&
            (version_arrays.empty() || !std::ranges::all_of(version_arrays, has_version))) {
            throw py::value_error("queries has " + std::to_string(version_arrays.size()) +
                                  " arrays, expected one, or one for each model version");
        }
        const auto dim = static_cast<py::ssize_t>(view.dim());
        if (is_single) n_ = 1;
        for (const auto& [version, array] : version_arrays) {
            const std::string name = std::string(is_single ? "query" : "queries") +
                                     (version ? " of model version " + std::to_string(*version) : "");
            auto expected = is_single ? std::vector<Dim>{dim} : std::vector<Dim>{n_ < 0 ? Dim("B") : Dim(n_), dim};
            arrays_.push_back(float32_input(array, name.c_str(), expected));
            if (!is_single) n_ = arrays_.back().shape(0);
        }
        read_tables(table_arrays, view);
        const bool has_versions = version_arrays.size() != 1 || version_arrays[0].first;
        for (py::ssize_t q = 0; q < n_; ++q) {
            const auto values = [&](std::size_t array) {
                return arrays_[array].span().subspan(static_cast<std::size_t>(q * dim), view.dim());
            };
            if (!has_versions) {
                queries_.emplace_back(values(0), tables_of(0, q));
                continue;
            }
            auto& version_queries = version_queries_.emplace_back();
            for (std::size_t a = 0; a < arrays_.size(); ++a) {
                version_queries.push_back({*version_arrays[a].first, values(a), tables_of(a, q)});
            }
        }
        for (const auto& query : version_queries_) queries_.emplace_back(std::span<const VersionQuery>(query));
    }

    py::ssize_t size() const { return n_; }
    // The shape of an output with `length` entries for each query.
    std::vector<py::ssize_t> shape(py::ssize_t length) const {
        return is_single_ ? std::vector<py::ssize_t>{length} : std::vector<py::ssize_t>{n_, length};
    }
    bool overlaps(std::span<const std::byte> output) const {
        const auto overlaps_output = [&](const auto& input) { return input.overlaps(output); };
        return std::ranges::any_of(arrays_, overlaps_output) || std::ranges::any_of(table_values_, overlaps_output);
    }
    const std::vector<Query>& all() const { return queries_; }

  private:
    void read_tables(const TableArrays& by_version, const IndexView& view) {
        const auto columns = view.code_columns();
        raise_unless_ok(columns.status());
        for (const auto& by_query : by_version) {
            if (!by_query.empty() && by_query.size() != static_cast<std::size_t>(n_)) {
                throw py::value_error("tables are for " + std::to_string(by_query.size()) + " queries, expected " +
                                      std::to_string(n_));
            }
            auto& of_version = tables_.emplace_back();
            for (const auto& by_column : by_query) {
                auto& of_query = of_version.emplace_back();
                for (const auto& [codes, values, other] : by_column) {
                    const std::size_t c = of_query.size();
                    const std::string name = "table '" + (c < columns->size() ? columns.value()[c] : "") + "': ";
                    table_codes_.push_back(code_input(codes, name + "codes", "S"));
                    table_values_.push_back(float32_input(values, (name + "values").c_str(), {"S"}));
                    of_query.push_back({table_codes_.back().span(), table_values_.back().span(), other});
                }
            }
        }
    }

    std::span<const CodeTable> tables_of(std::size_t version, py::ssize_t q) const {
        if (version >= tables_.size() || tables_[version].empty()) return {};
        return tables_[version][static_cast<std::size_t>(q)];
    }

    bool is_single_;
    py::ssize_t n_ = -1;
    std::vector<Input<float>> arrays_;
    std::vector<Input<std::uint32_t>> table_codes_;
    std::vector<Input<float>> table_values_;
    std::vector<std::vector<std::vector<CodeTable>>> tables_;  // by version array and query
    std::vector<std::vector<VersionQuery>> version_queries_;
    std::vector<Query> queries_;
};

bool have_one_axis(const VersionArrays& version_arrays) {
    return std::ranges::all_of(version_arrays, [](const auto& version_array) {
        return py::isinstance<py::array>(version_array.second) && py::array(version_array.second).ndim() == 1;
    });
}

// Ids or rows: exactly one of the two is not None, as the caller has checked.
class CandidateInput {
  public:
    CandidateInput(const py::object& ids, const py::object& rows) {
        if (rows.is_none()) {
            ids_ = int64_input(ids, "ids", {"N"});
            candidates = Candidates::of_ids(ids_->span());
        } else {
            rows_ = rows_input(rows);
            candidates = Candidates::of_rows(rows_->rows());
        }
    }
    bool overlaps(std::span<const std::byte> output) const {
        return (ids_ && ids_->overlaps(output)) || (rows_ && rows_->overlaps(output));
    }
    Candidates candidates;

  private:
    std::optional<Input<std::int64_t>> ids_;
    std::optional<RowsInput> rows_;
};

// A list of `length` entries and a count for each query: arrays (B, length), or (length,) for one query of shape (D,).
struct SearchOutput {
    SearchOutput(const Queries& queries, std::size_t length)
        : SearchOutput(queries.shape(static_cast<py::ssize_t>(length)), static_cast<std::size_t>(queries.size())) {}
    SearchOutput(const std::vector<py::ssize_t>& shape, std::size_t n_queries)
        : scores(shape), ids(shape), rows(shape), positions(shape), counts(n_queries) {}

    Ranked spans() { return {scores.span(), ids.span(), rows.span(), positions.span()}; }

    // (scores, ids, rows, positions, [(unknown, blocked, generation, found)]); arrays (found,) for one query (D,).
    py::tuple to_tuple() const {
        py::list tuples;
        for (const SearchCount& count : counts) {
            tuples.append(py::make_tuple(count.unknown, count.blocked, count.generation, count.found));
        }
        if (scores.array.ndim() == 2 || counts[0].found == static_cast<std::size_t>(scores.array.size())) {
            return py::make_tuple(scores.array, ids.array, rows.array, positions.array, tuples);
        }
        const py::slice found(0, static_cast<py::ssize_t>(counts[0].found), 1);
        return py::make_tuple(scores.array[found], ids.array[found], rows.array[found], positions.array[found], tuples);
    }

    Output<float> scores;
    Output<std::int64_t> ids;
    Output<std::int32_t> rows;
    Output<std::int64_t> positions;
    std::vector<SearchCount> counts;
};

py::tuple search(const IndexView& view, const VersionArrays& arrays, const TableArrays& tables, const py::object& ids,
                 const py::object& rows, py::ssize_t k) {
    const Queries queries(arrays, tables, view, have_one_axis(arrays));
    const CandidateInput input(ids, rows);
    const std::size_t length = std::min(positive(k, "k"), input.candidates.size());
    SearchOutput output(queries, length);
    const Ranked ranked = output.spans();
    call_without_gil([&]() -> Status {
        for (std::size_t q = 0; q < queries.all().size(); ++q) {
            const Ranked list = slice_list(ranked, q, length);
            const auto count = view.search(queries.all()[q], input.candidates, list);
            if (!count.ok()) return count.status();
            pad_list(list, count->found);
            output.counts[q] = count.value();
        }
        return {};
    });
    return output.to_tuple();
}

py::tuple search_all(const IndexView& view, const VersionArrays& arrays, const TableArrays& tables, py::ssize_t k,
                     const py::object& mask, const Filter* filter, const std::optional<py::ssize_t>& n_probe) {
    const Queries queries(arrays, tables, view, have_one_axis(arrays));
    std::optional<Input<std::uint8_t>> flags;
    std::span<const std::uint8_t> mask_bytes;
    if (!mask.is_none()) {
        flags = bool_input(mask, "mask", {"n_rows"});
        if (flags->shape(0) == 0 && view.n_rows() > 0) {  // the library reads an empty mask as no mask
            throw py::value_error("mask has 0 entries, the index has " + std::to_string(view.n_rows()) + " rows");
        }
        mask_bytes = flags->span();
    }
    std::vector<std::uint8_t> filtered;
    if (filter != nullptr) {
        filtered.resize(view.n_rows());
        call_without_gil([&] { return view.mask(*filter, filtered); });
        mask_bytes = filtered;
    }
    SearchOutput output(queries, std::min(positive(k, "k"), view.size()));
    const Ranked ranked = output.spans();
    const std::size_t n_lists = n_probe ? positive(*n_probe, "n_probe") : kEveryRow;
    call_without_gil([&] { return view.search_all(queries.all(), mask_bytes, ranked, output.counts, n_lists); });
    return output.to_tuple();
}

// Returns the mask of the filter. With its mask `before` of an earlier generation, only rows that changed are
// evaluated.
py::array_t<bool> mask(const IndexView& view, const Filter& filter, const py::object& before,
                       std::uint64_t generation) {
    Output<bool> output({static_cast<py::ssize_t>(view.n_rows())});
    const std::span<std::uint8_t> bytes(reinterpret_cast<std::uint8_t*>(output.span().data()), view.n_rows());
    Input<std::uint8_t> flags;
    if (!before.is_none()) flags = bool_input(before, "before", {"n_rows"});
    call_without_gil([&] {
        const auto first = flags.span().first(std::min(flags.span().size(), bytes.size()));
        // Any byte but 0 is true.
        std::ranges::transform(first, bytes.begin(), [](std::uint8_t byte) { return std::uint8_t{byte != 0}; });
        return view.update_mask(filter, before.is_none() ? 0 : generation, bytes);
    });
    return output.array;
}

py::array scores(const IndexView& view, const VersionArrays& arrays, const TableArrays& tables, const py::object& ids,
                 const py::object& rows, const py::object& out) {
    const Queries queries(arrays, tables, view, true);
    const CandidateInput input(ids, rows);
    const auto n = static_cast<py::ssize_t>(input.candidates.size());
    py::array array = out.is_none() ? py::array(py::array_t<float>(n)) : py::array(out);
    // isinstance of array_t checks dtype, byte order and contiguity, but not alignment.
    if (!py::isinstance<py::array_t<float, py::array::c_style>>(array) || !array.writeable() || array.ndim() != 1 ||
        array.shape(0) != n || reinterpret_cast<std::uintptr_t>(array.data()) % alignof(float) != 0) {
        throw py::value_error("out has shape " + shape_of(array) + " and dtype " +
                              py::str(array.dtype()).cast<std::string>() + ", expected (" + std::to_string(n) +
                              ",) float32, C-contiguous, aligned and writeable");
    }
    const std::span<float> filled(static_cast<float*>(array.mutable_data()), static_cast<std::size_t>(n));
    if (queries.overlaps(std::as_bytes(filled)) || input.overlaps(std::as_bytes(filled))) {
        throw py::value_error("out shares memory with query, tables, ids or rows");
    }
    call_without_gil([&] { return view.scores(queries.all()[0], input.candidates, filled); });
    return array;
}

}  // namespace

template <class Face>
void bind_searches(py::class_<Face>& face) {
    face.def("search", method<Face>(&search))
        .def("search_all", method<Face>(&search_all))
        .def("mask", method<Face>(&mask), py::arg("filter"), py::arg("before") = py::none(), py::arg("generation") = 0)
        .def("scores", method<Face>(&scores));
}

template void bind_searches(py::class_<ItemIndex>& face);
template void bind_searches(py::class_<HeldView>& face);

}  // namespace karec::python
