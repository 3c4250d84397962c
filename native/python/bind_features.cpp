// Codes, numbers and crosses of model inputs for Python: check, release the GIL, call.
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>

#include "arrays.hpp"
#include "bindings.hpp"
#include "features/crosses.hpp"
#include "features/numbers.hpp"
#include "features/vocabulary.hpp"
#include "stages/fusion.hpp"

namespace karec::python {
namespace {

// Returns a new array of function(i) for i < n. Called without the GIL.
template <class T, class Function>
py::array_t<T> map(py::ssize_t n, const Function& function) {
    Output<T> out({n});
    const auto values = out.span();
    const py::gil_scoped_release release;
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = function(i);
    return std::move(out.array);
}

py::array_t<double> log_hours_of(py::handle moments, py::handle time_ms) {
    const auto from = int64_input(moments, "moments", {"N"});
    const auto to = int64_input(time_ms, "time_ms", {from.shape(0)});
    return map<double>(from.shape(0), [&](std::size_t i) { return log_hours(from.span()[i], to.span()[i]); });
}

py::array_t<float> scaled(py::handle values, bool log, double mean, double scale) {
    const auto input = float64_input(values, "values", {"N"});
    if (!std::isfinite(mean)) throw py::value_error("mean must be finite, got " + std::to_string(mean));
    if (!(scale > 0.0 && std::isfinite(scale))) {
        throw py::value_error("scale must be positive and finite, got " + std::to_string(scale));
    }
    const NumberScale number{log, mean, scale};
    return map<float>(input.shape(0), [&](std::size_t i) { return number(input.span()[i]); });
}

py::array_t<double> log1p(py::handle values) {
    const auto input = float64_input(values, "values", {"N"});
    return map<double>(input.shape(0), [&](std::size_t i) { return fixed_log1p(input.span()[i]); });
}

// Priors (labels,), or (N, labels), one row for each row of counts.
py::array_t<float> numbers_of_counters(py::handle counts, py::handle priors) {
    const auto given = float32_input(counts, "counts", {"N", "C"});
    const py::ssize_t n = given.shape(0);
    const py::ssize_t width = given.shape(1);
    const py::ssize_t labels = width > 0 ? width - 1 : 0;
    const bool by_row = to_array(priors, "priors").ndim() == 2;
    const auto rates =
        by_row ? float64_input(priors, "priors", {n, labels}) : float64_input(priors, "priors", {labels});
    Output<float> out({n, width});
    const auto to = out.span();
    const auto from = given.span();
    const auto all = rates.span();
    const auto columns = static_cast<std::size_t>(width);
    const auto tasks = static_cast<std::size_t>(labels);
    const py::gil_scoped_release release;
    for (std::size_t at = 0; at < to.size(); at += columns) {  // rows without columns need no memory: skip them
        counter_numbers(from.subspan(at, columns), all.subspan(by_row ? at / columns * tasks : 0, tasks),
                        to.subspan(at, columns));
    }
    return std::move(out.array);
}

Vocabulary vocabulary_of(py::handle keys) {
    const auto input = key_input(keys, "keys");
    auto vocabulary = Vocabulary::from_keys({input.span().begin(), input.span().end()});
    raise_unless_ok(vocabulary.status());
    return std::move(vocabulary.value());
}

py::array_t<std::int64_t> encode(const Vocabulary& vocabulary, py::handle ids) {
    const auto input = key_input(ids, "ids");
    return map<std::int64_t>(input.shape(0), [&](std::size_t i) { return vocabulary.code(input.span()[i]); });
}

// creator: the column of items, or −1; cowatch: (vectors, history's rows, skipped works' rows, items' rows), then ALS
// factors (vectors, grams) of the same rows or nothing, or None;
// affinities: (history, skipped, rates, tuple of shares), or None; positions: (N,), (0,) if all are unknown, or None.
py::array_t<float> crosses_of(py::handle history, py::handle skipped, py::handle follows, py::handle friends,
                              py::handle alike, py::handle shared, py::handle items, py::ssize_t creator,
                              const py::object& cowatch, const py::object& affinities, const py::object& positions) {
    const auto codes = int64_input(items, "items", {"N", "I"});
    const py::ssize_t n = codes.shape(0);
    const py::ssize_t width = codes.shape(1);
    const py::array lists = to_array(history, "history");
    const py::ssize_t users = lists.ndim() > 0 && lists.shape(0) == 1 ? 1 : n;
    const std::string reason = "items has shape " + shape_of(codes.array);
    const auto history_codes = int64_input(lists, "history", {users, "H", width}, reason);
    const auto skipped_codes = int64_input(skipped, "skipped", {users, "S", width}, reason);
    const auto followed_ids = int64_input(follows, "follows", {users, "L"}, reason);
    const auto friend_ids = int64_input(friends, "friends", {users, "L"}, reason);
    const auto shared_columns = int64_input(shared, "shared", {"P"});
    const auto alike_codes = int64_input(alike, "alike", {users, shared_columns.shape(0)}, reason);
    std::vector<std::size_t> columns;
    for (const std::int64_t column : shared_columns.span()) columns.push_back(static_cast<std::size_t>(column));
    const auto outside = [&](std::size_t column) { return column >= static_cast<std::size_t>(width); };
    if (creator >= width || std::ranges::any_of(columns, outside)) {
        throw py::value_error("a column is outside of items " + shape_of(codes.array));
    }
    CrossInputs in;
    in.n_items = static_cast<std::size_t>(n);
    in.n_users = static_cast<std::size_t>(users);
    in.n_categories = static_cast<std::size_t>(width);
    in.history = history_codes.span();
    in.skipped = skipped_codes.span();
    in.items = codes.span();
    in.has_creators = creator >= 0;
    in.creator = static_cast<std::size_t>(std::max<py::ssize_t>(creator, 0));
    in.follows = followed_ids.span();
    in.friends = friend_ids.span();
    in.alike = alike_codes.span();
    in.shared = columns;
    std::vector<Input<std::int64_t>> rows;
    std::optional<Input<float>> vectors;
    std::optional<Input<float>> als_vectors;
    std::optional<Input<double>> als_grams;
    if (!cowatch.is_none()) {
        const auto parts = cowatch.cast<py::tuple>();
        if (parts.size() != 4 && parts.size() != 6) {
            throw py::value_error("cowatch has " + std::to_string(parts.size()) + " parts, expected 4 or 6 arrays");
        }
        vectors = float32_input(parts[0], "vectors", {"K", "D"});
        rows.push_back(int64_input(parts[1], "history_cowatch", {users, history_codes.shape(1)}));
        rows.push_back(int64_input(parts[2], "skipped_cowatch", {users, skipped_codes.shape(1)}));
        rows.push_back(int64_input(parts[3], "cowatch", {n}));
        in.vectors = vectors->span();
        in.dim = positive(vectors->shape(1), "the width of vectors");
        in.history_cowatch = rows[0].span();
        in.skipped_cowatch = rows[1].span();
        in.cowatch = rows[2].span();
        if (parts.size() == 6) {
            als_vectors = float32_input(parts[4], "als", {vectors->shape(0), "F"});
            als_grams = float64_input(parts[5], "grams", {"M", als_vectors->shape(1), als_vectors->shape(1)});
            in.als = {als_vectors->span(), als_grams->span(), positive(als_vectors->shape(1), "the width of als")};
            const std::size_t n_moments = positive(als_grams->shape(0), "the number of grams");
            if (static_cast<std::size_t>(vectors->shape(0)) % n_moments != 0) {
                throw py::value_error("the rows of als " + shape_of(als_vectors->array) + " are not those of " +
                                      std::to_string(n_moments) + " moments");
            }
        }
    }
    std::vector<Input<double>> priors;
    std::vector<std::span<const double>> shares;
    if (!affinities.is_none()) {
        const auto parts = affinities.cast<py::tuple>();
        if (parts.size() != 4) {
            throw py::value_error("affinities has " + std::to_string(parts.size()) + " parts, expected 4");
        }
        rows.push_back(int64_input(parts[0], "affinity_history", {users, "H", width}, reason));
        in.affinities.history = rows.back().span();
        rows.push_back(int64_input(parts[1], "affinity_skipped", {users, "S", width}, reason));
        in.affinities.skipped = rows.back().span();
        priors.push_back(float64_input(parts[2], "rates", {"K"}));
        in.affinities.rates = priors.back().span();
        for (const py::handle part : parts[3].cast<py::tuple>()) {
            priors.push_back(float64_input(part, "shares", {"K"}));
            positive(priors.back().shape(0), "the number of shares");
            shares.push_back(priors.back().span());
        }
        if (shares.size() != (in.affinities.rates.empty() ? in.n_categories : 0)) {
            throw py::value_error("shares has " + std::to_string(shares.size()) +
                                  " parts, expected one for each category, or none with rates");
        }
        in.affinities.shares = shares;
    }
    in.has_positions = !positions.is_none();
    if (in.has_positions) {
        const bool is_known = to_array(positions, "positions").size() > 0;
        rows.push_back(int64_input(positions, "positions", {is_known ? n : 0}));
        in.positions = rows.back().span();
    }
    Output<float> out({n, static_cast<py::ssize_t>(in.width())});
    const auto to = out.span();
    Status status;
    {
        const py::gil_scoped_release release;
        status = compute_crosses(in, to);
    }
    raise_unless_ok(status);
    return std::move(out.array);
}

py::array_t<float> fused(py::handle logits, py::handle weights, bool is_product) {
    const auto factors = float64_input(weights, "weights", {"T"});
    const auto given = float64_input(logits, "logits", {"N", factors.shape(0)});
    Output<float> out({given.shape(0)});
    const auto to = out.span();
    const auto from = given.span();
    const auto by_task = factors.span();
    const py::gil_scoped_release release;
    fuse_logits(from, by_task, is_product ? FusionKind::product : FusionKind::sum, to);
    return std::move(out.array);
}

}  // namespace

void bind_features(py::module_& module) {
    py::class_<Vocabulary>(module, "Vocabulary")
        .def(py::init(&vocabulary_of))
        .def("__len__", &Vocabulary::size)
        .def_property_readonly("keys",
                               [](const py::object& self) {
                                   const auto keys = self.cast<const Vocabulary&>().keys();
                                   return view_of(DType::int64, std::as_bytes(keys), self);
                               })
        .def("encode", &encode);
    module.def("crosses", &crosses_of);
    module.def("log_hours", &log_hours_of);
    module.def("log1p", &log1p);
    module.def("scaled", &scaled);
    module.def("fuse_logits", &fused);
    module.def("counter_numbers", &numbers_of_counters);
}

}  // namespace karec::python
