// Numbers of model inputs for Python: check, release the GIL, call.
#include "arrays.hpp"
#include "bindings.hpp"
#include "features/numbers.hpp"

namespace karec::python {
namespace {

py::array_t<double> hours(py::handle moments, py::handle time_ms) {
    const auto given = int64_input(moments, "moments", {"N"});
    const auto times = int64_input(time_ms, "time_ms", {given.shape(0)});
    Output<double> out({given.shape(0)});
    const auto to = out.span();
    const auto from = given.span();
    const auto now = times.span();
    const py::gil_scoped_release release;
    for (std::size_t i = 0; i < to.size(); ++i) to[i] = log_hours(from[i], now[i]);
    return std::move(out.array);
}

py::array_t<float> scaled(py::handle values, bool log, double mean, double scale) {
    const auto given = float64_input(values, "values", {"N"});
    if (!(scale > 0.0)) throw py::value_error("scale must be positive, got " + std::to_string(scale));
    const NumberScale number{log, mean, scale};
    Output<float> out({given.shape(0)});
    const auto to = out.span();
    const auto from = given.span();
    const py::gil_scoped_release release;
    for (std::size_t i = 0; i < to.size(); ++i) to[i] = number(from[i]);
    return std::move(out.array);
}

py::array_t<double> log1p(py::handle values) {
    const auto given = float64_input(values, "values", {"N"});
    Output<double> out({given.shape(0)});
    const auto to = out.span();
    const auto from = given.span();
    const py::gil_scoped_release release;
    for (std::size_t i = 0; i < to.size(); ++i) to[i] = fixed_log1p(from[i]);
    return std::move(out.array);
}

// Priors (labels,), or (N, labels), one row for each row of counts.
py::array_t<float> numbers_of_counters(py::handle counts, const py::array& priors) {
    const auto given = float32_input(counts, "counts", {"N", "C"});
    const py::ssize_t n = given.shape(0);
    const py::ssize_t width = given.shape(1);
    const py::ssize_t labels = width > 0 ? width - 1 : 0;
    const bool by_row = priors.ndim() == 2;
    const auto rates =
        by_row ? float64_input(priors, "priors", {n, labels}) : float64_input(priors, "priors", {labels});
    Output<float> out({n, width});
    const auto to = out.span();
    const auto from = given.span();
    const auto all = rates.span();
    const auto columns = static_cast<std::size_t>(width);
    const auto tasks = static_cast<std::size_t>(labels);
    const py::gil_scoped_release release;
    for (std::size_t row = 0; row < static_cast<std::size_t>(n); ++row) {
        counter_numbers(from.subspan(row * columns, columns), all.subspan(by_row ? row * tasks : 0, tasks),
                        to.subspan(row * columns, columns));
    }
    return std::move(out.array);
}

}  // namespace

void bind_features(py::module_& module) {
    module.def("log_hours", &hours);
    module.def("log1p", &log1p);
    module.def("scaled", &scaled);
    module.def("counter_numbers", &numbers_of_counters);
}

}  // namespace karec::python
