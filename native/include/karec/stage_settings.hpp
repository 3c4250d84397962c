// What prerank does to its candidates, step by step: the same steps, with the same keys, as a stage of karec.toml.
//
// `karec export stage` writes a stage to a file that read() takes (docs/formats.md); a host may also fill the struct by
// hand.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "karec/export.hpp"
#include "karec/status.hpp"

namespace karec {

// Each means the same as Python's step: karec/steps/.
struct IndexRowsStep {};     // ids → rows
struct HasEmbeddingStep {};  // drops works that the index does not know
struct NotShownStep {};      // drops what the session has seen
struct InnerProductStep {
    std::size_t k = 0;  // ≥ 1: how many of the best to keep
};
struct FreshnessStep {  // reads the column upload_ms
    double weight = 0.0;
    double half_life_hours = 24.0;
};
struct ToneStep {
    std::string column;
    double at_least = 0.0;
};
struct QuotaStep {
    std::string column;
    std::size_t at_most = 0;  // ≥ 1
};
// Works whose `column` holds `value` have their q multiplied by `factor` ≥ 0.
struct TrafficWeight {
    std::string column;
    std::int64_t value = 0;
    double factor = 1.0;
};
// Works that have one value of an integer `column` are alike by `weight` ≥ 0; a value below 0 says that a work has
// none.
struct FacetWeight {
    std::string column;
    double weight = 0.0;
};
struct DppStep {
    std::optional<std::size_t> k;  // nullopt: the request's
    double diversity = 0.5;
    double ridge = 1e-2;
    double type_weight = 0.0;
    std::optional<std::size_t> window;
    std::string types = "type";  // the integer column that type_weight and the quotas read
    std::optional<std::size_t> max_per_type;
    std::size_t min_per_type = 0;
    std::vector<TrafficWeight> weights;  // multiplied in this order
    // Vectors less their mean over the catalogue, and with their differences of variance taken away to the power
    // `whiten` in [0, 1]: by vector_statistics.npz of the bundle, for rows of its own model version.
    bool centre = false;
    double whiten = 0.0;
    std::vector<FacetWeight> facets;  // with type_weight at most 1 in sum
};

struct StageStep {
    std::string name;  // for metrics
    std::variant<IndexRowsStep, HasEmbeddingStep, NotShownStep, InnerProductStep, FreshnessStep, ToneStep, QuotaStep,
                 DppStep>
        what;
};

struct KAREC_API StageSettings {
    std::string scene;
    std::vector<StageStep> steps;
    std::string source = {};  // hash of the stage in karec.toml, 16 hexadecimal digits

    // io_error: the file cannot be read. bad_format, with step and key: it is not JSON, lacks a key, has an unknown
    // step or key, a value of another type or a number out of range.
    static Result<StageSettings> read(const std::string& path) noexcept;
    static Result<StageSettings> parse(const std::string& text) noexcept;
};

}  // namespace karec
