// What a step of settings needs, found out before any run: ranges, and columns of the index.
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "karec/dpp.hpp"
#include "karec/ecosystem.hpp"
#include "stages/steps.hpp"

namespace karec {

Result<DType> need_column(const IndexView& view, std::string_view name, bool integer) {
    auto dtype = view.column_dtype(name);
    if (!dtype.ok() || !integer) return dtype;
    const bool floating =
        dtype.value() == DType::float16 || dtype.value() == DType::float32 || dtype.value() == DType::float64;
    if (!floating) return dtype;
    return Status::invalid("column '" + std::string(name) + "' holds floating numbers, expected integers");
}

Status check_step(const StageStep& step, const IndexView& view) {
    Status status = std::visit(
        [&]<class S>(const S& what) -> Status {
            if constexpr (std::is_same_v<S, InnerProductStep>) {
                if (what.k == 0) return Status::invalid("k must be positive, got 0");
            } else if constexpr (std::is_same_v<S, FreshnessStep>) {
                if (Status refused = need_column(view, kUploadMs, true).status(); !refused.ok()) return refused;
                const std::array<float, 0> none{};
                const Column empty{kUploadMs, DType::int64, {}};
                return freshness(none, empty, 0, what.weight, what.half_life_hours, std::span<float>());
            } else if constexpr (std::is_same_v<S, ToneStep>) {
                if (!std::isfinite(what.at_least)) {
                    return Status::invalid("at_least must be finite, got " + std::to_string(what.at_least));
                }
                return need_column(view, what.column, false).status();
            } else if constexpr (std::is_same_v<S, QuotaStep>) {
                if (what.at_most == 0) return Status::invalid("at_most must be positive, got 0");
                return need_column(view, what.column, false).status();
            } else if constexpr (std::is_same_v<S, DppStep>) {
                if (what.k && *what.k == 0) return Status::invalid("k must be positive, got 0");
                if (!(what.diversity >= 0.0 && what.diversity <= 1.0)) {
                    return Status::invalid("diversity must lie in [0, 1], got " + std::to_string(what.diversity));
                }
                for (const TrafficWeight& weight : what.weights) {
                    if (!(weight.factor >= 0.0 && weight.factor <= double{std::numeric_limits<float>::max()})) {
                        return Status::invalid("weights must lie in [0, the largest float32]");
                    }
                    if (Status refused = need_column(view, weight.column, true).status(); !refused.ok()) return refused;
                }
                if (is_typed(what)) {
                    if (Status refused = need_column(view, what.types, true).status(); !refused.ok()) return refused;
                }
                if (what.max_per_type && *what.max_per_type == 0) {
                    return Status::invalid("max_per_type must be positive, got 0");
                }
                if (what.max_per_type && what.min_per_type > *what.max_per_type) {
                    return Status::invalid("min_per_type must be at most max_per_type");
                }
                if (!(what.whiten >= 0.0 && what.whiten <= 1.0)) {
                    return Status::invalid("whiten must lie in [0, 1], got " + std::to_string(what.whiten));
                }
                std::vector<double> weights;
                for (const FacetWeight& facet : what.facets) {
                    if (Status refused = need_column(view, facet.column, true).status(); !refused.ok()) return refused;
                    weights.push_back(facet.weight);
                }
                DppOptions options;
                options.ridge = what.ridge;
                options.type_weight = what.type_weight;
                options.facet_weights = weights;
                options.window = what.window;
                return dpp_select({nullptr, 0, view.dim(), DType::float32}, {}, options, {}, {}).status();
            }
            return {};
        },
        step.what);
    if (status.ok()) return status;
    return {status.code(), "step " + step.name + ": " + status.message()};
}

}  // namespace karec
