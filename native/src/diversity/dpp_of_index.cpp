// IndexView::dpp_select: the DPP reads rows of the index in place.
#include <string>
#include <vector>

#include "base/boundary.hpp"
#include "base/read_once.hpp"
#include "diversity/dpp_problem.hpp"
#include "index/generation.hpp"
#include "karec/index_view.hpp"
#include "search/search_checks.hpp"

namespace karec {

Result<DppCount> IndexView::dpp_select(const Rows& rows, std::span<const float> relevance, const DppOptions& options,
                                       std::span<std::int64_t> indices, std::span<double> gains) const noexcept {
    return at_boundary([&]() -> Result<DppCount> {
        if (Status status = check_held(); !status.ok()) return status;
        const Generation& g = *generation_;
        if (Status status = check_generation(rows, g); !status.ok()) return status;
        const std::span<const std::int32_t> values = rows.values;
        std::vector<const std::byte*> places(values.size());
        std::vector<float> scales;
        const bool scaled = g.format.dtype == DType::int8 && !g.keeps_exact;
        if (scaled) scales.resize(values.size());
        for (std::size_t i = 0; i < values.size(); ++i) {
            const std::int32_t given = read_once(values[i]);
            const auto row = static_cast<std::size_t>(given);
            if (given < 0 || row >= g.n_rows() || g.removed.has(row)) {
                return Status::invalid("rows holds " + std::to_string(given) + " at position " + std::to_string(i) +
                                       ": no work stands there");
            }
            places[i] = g.keeps_exact ? g.exact.at(row) : g.rows.at(row);
            if (scaled) scales[i] = g.scale_of(row);
        }
        VectorRows vectors;
        vectors.rows = values.size();
        vectors.cols = g.format.dim;
        vectors.dtype = g.keeps_exact ? DType::float32 : g.format.dtype;
        vectors.places = places;
        vectors.scales = scales;
        return dpp_select_rows(vectors, relevance, options, indices, gains);
    });
}

}  // namespace karec
