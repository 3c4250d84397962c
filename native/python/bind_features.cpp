// Codes, numbers and crosses of model inputs for Python: check, release the GIL, call.
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>

#include "arrays.hpp"
#include "bindings.hpp"
#include "features/cross_tables.hpp"
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

// The arrays of CrossInputs. creator: the column of items, or −1; cowatch: (vectors, history's rows, skipped works'
// rows, items' rows), then ALS factors (vectors, grams) of the same rows or nothing, or None; affinities: (history,
// skipped, rates, tuple of shares), or None; positions: (N,), (0,) if all are unknown, or None.
class CrossArrays {
  public:
    CrossArrays(py::handle history, py::handle skipped, py::handle follows, py::handle friends, py::handle alike,
                py::handle shared, py::handle items, py::ssize_t creator, const py::object& cowatch,
                const py::object& affinities, const py::object& positions) {
        const auto codes = add(int64_input(items, "items", {"N", "I"}));
        n_items_ = codes.shape(0);
        const py::ssize_t width = codes.shape(1);
        const py::array lists = to_array(history, "history");
        n_users_ = lists.ndim() > 0 && lists.shape(0) == 1 ? 1 : n_items_;
        const Reason reason("items", codes.array);
        const auto add_list = [&](py::handle list, const char* name, const std::vector<Dim>& shape) {
            return add(int64_input(list, name, shape, reason));
        };
        const auto history_codes = add_list(lists, "history", {n_users_, "H", width});
        const auto skipped_codes = add_list(skipped, "skipped", {n_users_, "S", width});
        const auto shared_columns = int64_input(shared, "shared", {"P"});
        for (const std::int64_t column : shared_columns.span()) shared_.push_back(static_cast<std::size_t>(column));
        const auto is_outside = [&](std::size_t column) { return column >= static_cast<std::size_t>(width); };
        if (creator >= width || std::ranges::any_of(shared_, is_outside)) {
            throw py::value_error("a column is outside of items " + shape_of(codes.array));
        }
        in.n_items = static_cast<std::size_t>(n_items_);
        in.n_users = static_cast<std::size_t>(n_users_);
        in.n_categories = static_cast<std::size_t>(width);
        in.history = history_codes.span();
        in.skipped = skipped_codes.span();
        in.items = codes.span();
        in.has_creators = creator >= 0;
        in.creator = static_cast<std::size_t>(std::max<py::ssize_t>(creator, 0));
        in.follows = add_list(follows, "follows", {n_users_, "L"}).span();
        in.friends = add_list(friends, "friends", {n_users_, "L"}).span();
        in.alike = add_list(alike, "alike", {n_users_, shared_columns.shape(0)}).span();
        in.shared = shared_;
        if (!cowatch.is_none()) read_cowatch(cowatch.cast<py::tuple>(), history_codes.shape(1), skipped_codes.shape(1));
        if (!affinities.is_none()) read_affinities(affinities.cast<py::tuple>(), width, reason);
        in.has_positions = !positions.is_none();
        if (in.has_positions) {
            const bool is_known = to_array(positions, "positions").size() > 0;
            in.positions = add(int64_input(positions, "positions", {is_known ? n_items_ : 0})).span();
        }
    }

    CrossInputs in;

  private:
    template <class T>
    Input<T> add(Input<T> input) {
        arrays_.push_back(input.array);
        return input;
    }

    void read_cowatch(const py::tuple& parts, py::ssize_t n_history, py::ssize_t n_skipped) {
        if (parts.size() != 4 && parts.size() != 6) {
            throw py::value_error("cowatch has " + std::to_string(parts.size()) + " parts, expected 4 or 6 arrays");
        }
        const auto vectors = add(float32_input(parts[0], "vectors", {"K", "D"}));
        in.vectors = vectors.span();
        in.dim = positive(vectors.shape(1), "the width of vectors");
        in.history_cowatch = add(int64_input(parts[1], "history_cowatch", {n_users_, n_history})).span();
        in.skipped_cowatch = add(int64_input(parts[2], "skipped_cowatch", {n_users_, n_skipped})).span();
        in.cowatch = add(int64_input(parts[3], "cowatch", {n_items_})).span();
        if (parts.size() == 4) return;
        const auto als = add(float32_input(parts[4], "als", {vectors.shape(0), "F"}));
        const auto grams = add(float64_input(parts[5], "grams", {"M", als.shape(1), als.shape(1)}));
        in.als = {als.span(), grams.span(), positive(als.shape(1), "the width of als")};
        const std::size_t n_moments = positive(grams.shape(0), "the number of grams");
        if (static_cast<std::size_t>(vectors.shape(0)) % n_moments != 0) {
            throw py::value_error("the rows of als " + shape_of(als.array) + " are not those of " +
                                  std::to_string(n_moments) + " moments");
        }
    }

    void read_affinities(const py::tuple& parts, py::ssize_t width, const Reason& reason) {
        if (parts.size() != 4) {
            throw py::value_error("affinities has " + std::to_string(parts.size()) + " parts, expected 4");
        }
        const std::vector<Dim> shape{n_users_, "L", width};
        in.affinities.history = add(int64_input(parts[0], "affinity_history", shape, reason)).span();
        in.affinities.skipped = add(int64_input(parts[1], "affinity_skipped", shape, reason)).span();
        in.affinities.rates = add(float64_input(parts[2], "rates", {"K"})).span();
        for (const py::handle part : parts[3].cast<py::tuple>()) {
            const auto shares = add(float64_input(part, "shares", {"K"}));
            positive(shares.shape(0), "the number of shares");
            shares_.push_back(shares.span());
        }
        if (shares_.size() != (in.affinities.rates.empty() ? in.n_categories : 0)) {
            throw py::value_error("shares has " + std::to_string(shares_.size()) +
                                  " parts, expected one for each category, or none with rates");
        }
        in.affinities.shares = shares_;
    }

    py::ssize_t n_items_ = 0;
    py::ssize_t n_users_ = 0;
    std::vector<py::array> arrays_;  // keeps the memory alive
    std::vector<std::size_t> shared_;
    std::vector<std::span<const double>> shares_;
};

py::array_t<float> crosses_of(const CrossArrays& arrays) {
    const CrossInputs& in = arrays.in;
    Output<float> out({static_cast<py::ssize_t>(in.n_items), static_cast<py::ssize_t>(in.width())});
    const auto to = out.span();
    call_without_gil([&] { return compute_crosses(in, to); });
    return std::move(out.array);
}

CrossWeights cross_weights_of(py::handle columns, py::handle low, py::handle per_width, py::handle weights) {
    const auto features = int64_input(columns, "columns", {"F"});
    const auto begins = float64_input(low, "low", {features.shape(0), "B"});
    const auto widths = float64_input(per_width, "per_width", {features.shape(0), begins.shape(1)});
    const auto factors = float64_input(weights, "weights", {features.shape(0), begins.shape(1) + 1});
    const auto to_vector = [](const auto& values) { return std::vector<double>(values.begin(), values.end()); };
    return {{features.span().begin(), features.span().end()},
            to_vector(begins.span()),
            to_vector(widths.span()),
            to_vector(factors.span())};
}

// [(codes, values, other)] by category.
py::list cross_tables_of(const CrossArrays& arrays, const CrossWeights& weights,
                         const std::vector<std::size_t>& categories) {
    if (arrays.in.n_users != 1)
        throw py::value_error("tables are of one user, got " + std::to_string(arrays.in.n_users));
    for (const std::size_t category : categories) {
        size_up_to(arrays.in.n_categories - 1, static_cast<py::ssize_t>(category), "category");
    }
    ScratchVector<CrossTable> tables;
    {
        const py::gil_scoped_release release;
        tables = compute_cross_tables(arrays.in, weights, categories);
    }
    py::list result;
    for (const CrossTable& table : tables) {
        const auto n = static_cast<py::ssize_t>(table.codes.size());
        result.append(py::make_tuple(py::array_t<std::uint32_t>(n, table.codes.data()),
                                     py::array_t<float>(n, table.values.data()), table.other));
    }
    return result;
}

py::array_t<std::uint32_t> code32(py::handle codes) {
    const auto input = key_input(codes, "codes");
    return map<std::uint32_t>(input.shape(0), [&](std::size_t i) { return to_code32(input.span()[i]); });
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
    py::class_<CrossWeights>(module, "CrossWeights").def(py::init(&cross_weights_of));
    py::class_<CrossArrays>(module, "CrossInputs")
        .def(py::init<py::handle, py::handle, py::handle, py::handle, py::handle, py::handle, py::handle, py::ssize_t,
                      const py::object&, const py::object&, const py::object&>())
        .def("crosses", &crosses_of)
        .def("tables", &cross_tables_of);
    module.def("code32", &code32);
    module.def("log_hours", &log_hours_of);
    module.def("log1p", &log1p);
    module.def("scaled", &scaled);
    module.def("fuse_logits", &fused);
    module.def("counter_numbers", &numbers_of_counters);
}

}  // namespace karec::python
