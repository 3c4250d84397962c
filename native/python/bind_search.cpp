// Searches of an index for Python: check, release the GIL, call.
#include <pybind11/stl.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "arrays.hpp"
#include "reading.hpp"
#include "search/search_checks.hpp"

namespace karec::python {
namespace {

// One array for all rows (version nullopt), or one for each model version.
using Versioned = std::vector<std::pair<std::optional<std::int64_t>, py::object>>;

// Queries as views of the arrays.
class Queries {
  public:
    Queries(const Versioned& given, const IndexView& view, bool several) {
        const auto has_version = [](const auto& query) { return query.first.has_value(); };
        if (given.size() != 1 && (given.empty() || !std::ranges::all_of(given, has_version))) {
            throw py::value_error("queries has " + std::to_string(given.size()) +
                                  " arrays, expected one, or one for each model version");
        }
        const auto dim = static_cast<py::ssize_t>(view.dim());
        for (const auto& [version, array] : given) {
            const std::string name = std::string(several ? "queries" : "query") +
                                     (version ? " of model version " + std::to_string(*version) : "");
            auto expected = several ? std::vector<Dim>{n_ < 0 ? Dim("B") : Dim(n_), dim} : std::vector<Dim>{dim};
            arrays_.push_back(float32_input(array, name.c_str(), expected));
            if (several) n_ = arrays_.back().shape(0);
        }
        if (!several) n_ = 1;
        for (py::ssize_t q = 0; q < n_; ++q) {
            const auto first = static_cast<std::size_t>(q * dim);
            const auto of = [&](std::size_t a) { return arrays_[a].span().subspan(first, view.dim()); };
            if (given.size() == 1 && !given[0].first) {
                queries_.emplace_back(of(0));
                continue;
            }
            auto& each = by_version_.emplace_back();
            for (std::size_t a = 0; a < given.size(); ++a) each.push_back({*given[a].first, of(a)});
        }
        for (const auto& each : by_version_) queries_.emplace_back(std::span<const VersionQuery>(each));
    }

    py::ssize_t size() const { return n_; }
    bool overlaps(std::span<const std::byte> output) const {
        return std::ranges::any_of(arrays_, [&](const auto& input) { return input.overlaps(output); });
    }
    const std::vector<Query>& all() const { return queries_; }

  private:
    py::ssize_t n_ = -1;
    std::vector<Input<float>> arrays_;
    std::vector<std::vector<VersionQuery>> by_version_;
    std::vector<Query> queries_;
};

// Ids or rows: exactly one of the two is not None, as the caller has checked.
struct CandidateInput {
    CandidateInput(const py::object& ids, const py::object& rows) {
        if (rows.is_none()) {
            ids_ = int64_input(ids, "ids", {"N"});
            among = Candidates::of_ids(ids_->span());
        } else {
            rows_ = rows_input(rows);
            among = Candidates::of_rows(rows_->rows());
        }
    }
    bool overlaps(std::span<const std::byte> output) const {
        return (ids_ && ids_->overlaps(output)) || (rows_ && rows_->overlaps(output));
    }
    Candidates among;

  private:
    std::optional<Input<std::int64_t>> ids_;
    std::optional<RowsInput> rows_;
};

struct RankedOutput {
    explicit RankedOutput(const std::vector<py::ssize_t>& shape)
        : scores(shape), ids(shape), rows(shape), positions(shape) {}
    Ranked spans() { return {scores.span(), ids.span(), rows.span(), positions.span()}; }

    Output<float> scores;
    Output<std::int64_t> ids;
    Output<std::int32_t> rows;
    Output<std::int64_t> positions;
};

// (scores, ids, rows, positions, [(unknown, blocked, generation, found)]): a list for each query.
py::tuple to_tuple(const RankedOutput& ranked, const std::vector<SearchCount>& counts) {
    py::list tuples;
    for (const SearchCount& count : counts) {
        tuples.append(py::make_tuple(count.unknown, count.blocked, count.generation, count.found));
    }
    return py::make_tuple(ranked.scores.array, ranked.ids.array, ranked.rows.array, ranked.positions.array, tuples);
}

py::tuple search(const IndexView& view, const Versioned& queries, const py::object& ids, const py::object& rows,
                 py::ssize_t k) {
    const std::size_t wanted = positive(k, "k");
    const Queries each(queries, view, true);
    const CandidateInput candidates(ids, rows);
    const std::size_t width = std::min(wanted, candidates.among.size());
    RankedOutput ranked({each.size(), static_cast<py::ssize_t>(width)});
    const Ranked out = ranked.spans();
    std::vector<SearchCount> counts;
    Status status;
    {
        const py::gil_scoped_release release;
        for (const Query& query : each.all()) {
            const Ranked list = list_of(out, counts.size(), width);
            const auto count = view.search(query, candidates.among, list);
            status = count.status();
            if (!status.ok()) break;
            pad_list(list, count->found);
            counts.push_back(count.value());
        }
    }
    raise_unless_ok(status);
    return to_tuple(ranked, counts);
}

py::tuple search_all(const IndexView& view, const Versioned& queries, py::ssize_t k, const py::object& mask,
                     const std::optional<py::ssize_t>& n_probe) {
    const std::size_t wanted = positive(k, "k");
    const std::size_t probed = n_probe ? positive(*n_probe, "n_probe") : kEveryRow;
    const Queries each(queries, view, true);
    std::optional<Input<std::uint8_t>> kept;
    std::span<const std::uint8_t> mask_bytes;
    if (!mask.is_none()) {
        kept = bool_input(mask, "mask", {"n_rows"});
        if (kept->shape(0) == 0 && view.n_rows() > 0) {  // to the library an empty mask is none
            throw py::value_error("mask has 0 entries, the index has " + std::to_string(view.n_rows()) + " rows");
        }
        mask_bytes = kept->span();
    }
    RankedOutput ranked({each.size(), static_cast<py::ssize_t>(std::min(wanted, view.size()))});
    const Ranked out = ranked.spans();
    std::vector<SearchCount> counts(static_cast<std::size_t>(each.size()));
    Status status;
    {
        const py::gil_scoped_release release;
        status = view.search_all(each.all(), mask_bytes, out, counts, probed);
    }
    raise_unless_ok(status);
    return to_tuple(ranked, counts);
}

py::array scores(const IndexView& view, const Versioned& query, const py::object& ids, const py::object& rows,
                 const py::object& out) {
    const Queries one(query, view, false);
    const CandidateInput candidates(ids, rows);
    const auto n = static_cast<py::ssize_t>(candidates.among.size());
    py::array to = out.is_none() ? py::array(py::array_t<float>(n)) : py::array(out);
    // isinstance of array_t checks dtype, byte order and contiguity, but not alignment.
    if (!py::isinstance<py::array_t<float, py::array::c_style>>(to) || !to.writeable() || to.ndim() != 1 ||
        to.shape(0) != n || reinterpret_cast<std::uintptr_t>(to.data()) % alignof(float) != 0) {
        throw py::value_error("out has shape " + shape_of(to) + " and dtype " +
                              py::str(to.dtype()).cast<std::string>() + ", expected (" + std::to_string(n) +
                              ",) float32, C-contiguous, aligned and writeable");
    }
    const std::span<float> filled(static_cast<float*>(to.mutable_data()), static_cast<std::size_t>(n));
    if (one.overlaps(std::as_bytes(filled)) || candidates.overlaps(std::as_bytes(filled))) {
        throw py::value_error("out shares memory with query, ids or rows");
    }
    const auto counts = [&] {
        const py::gil_scoped_release release;
        return view.scores(one.all()[0], candidates.among, filled);
    }();
    raise_unless_ok(counts.status());
    return to;
}

}  // namespace

template <class Face>
void bind_searches(py::class_<Face>& face) {
    face.def("search", method<Face>(&search))
        .def("search_all", method<Face>(&search_all))
        .def("scores", method<Face>(&scores));
}

template void bind_searches(py::class_<ItemIndex>& face);
template void bind_searches(py::class_<HeldView>& face);

}  // namespace karec::python
