#include "stages/request_user.hpp"

#include <algorithm>
#include <string>

#include "base/checks.hpp"

namespace karec {
namespace {

Status check_vector(std::span<const float> values, const std::string& name, std::size_t dim) {
    if (values.size() == dim) return check_finite(values, name.c_str());
    return Status::invalid(name + " has " + std::to_string(values.size()) + " values, expected " + std::to_string(dim));
}

}  // namespace

Status check_request(const Request& request, const IndexView& view) {
    if (request.k == 0) return Status::invalid("k is 0, expected at least 1");
    if (!request.scores.empty()) {
        Status status = check_lengths("scores", request.scores.size(), "candidates", request.candidates.size());
        if (status.ok()) status = check_finite(request.scores, "scores");
        if (!status.ok()) return status;
    }
    if (!request.user_vector) return {};
    const auto columns = view.code_columns();
    if (!columns.ok()) return columns.status();
    const auto& [values, tables, by_version] = *request.user_vector;
    const bool lacks_tables =
        by_version.empty() ? tables.empty()
                           : std::ranges::any_of(by_version, [](const auto& query) { return query.tables.empty(); });
    if (!columns->empty() && lacks_tables) {
        return Status::invalid("user_vector has no tables for the code columns of the index, whose towers are wide");
    }
    for (const VersionQuery& query : request.user_vector->by_version) {
        const std::string name = "user_vector of model version " + std::to_string(query.model_version);
        if (Status status = check_vector(query.values, name, view.dim()); !status.ok()) return status;
    }
    if (!request.user_vector->by_version.empty()) return {};
    return check_vector(request.user_vector->values, "user_vector", view.dim());
}

Status RequestUser::prepare(const Request& request, std::string_view scene, bool has_search, const LoadedBundle& bundle,
                            const IndexView& view) {
    const bool has_towers = has_search && !request.user_vector;
    if (has_towers && bundle.towers.empty()) {
        return {Code::unavailable,
                "inner_product needs a user_vector: set it in the request, or open with onnxruntime"};
    }
    if (has_towers || bundle.ranker) {
        if (request.user == nullptr) return Status::invalid("user is missing: the ranker or a user tower reads it");
        Status status = encode(*request.user, scene, request.time_ms, *bundle.encoder);
        if (!status.ok()) return status;
    }
    if (has_towers) return run_towers(bundle, view);
    if (has_search) vector = request.user_vector;
    return {};
}

Status RequestUser::encode(const UserState& user, std::string_view scene, std::int64_t time_ms,
                           const UserEncoder& encoder) {
    encoded.codes.resize(encoder.n_codes());
    encoded.numbers.resize(encoder.n_numbers());
    Status status = encoder.encode(user, scene, time_ms, encoded.codes, encoded.numbers);
    if (!status.ok()) return status;
    std::size_t code = 0;
    std::size_t number = 0;
    for (const TensorSpec& output : encoder.outputs()) {
        const bool is_code = output.dtype == DType::int64;
        const void* data = is_code ? static_cast<const void*>(encoded.codes.data() + code)
                                   : static_cast<const void*>(encoded.numbers.data() + number);
        std::size_t n = 1;
        for (const std::int64_t size : output.shape) n *= static_cast<std::size_t>(size);
        (is_code ? code : number) += n;
        tensors.push_back({output.name, output.dtype, {output.shape.begin(), output.shape.end()}, data});
    }
    return {};
}

Status RequestUser::run_towers(const LoadedBundle& bundle, const IndexView& view) {
    auto versions = view.model_versions();
    if (!versions.ok()) return versions.status();
    if (versions->empty()) versions->push_back(bundle.bundle.model_version());  // an empty index has no version
    const std::size_t dim = view.dim();
    values_.resize(bundle.towers.size() * dim);
    for (const auto& [tower, weights] : bundle.towers) {
        if (!std::ranges::binary_search(versions.value(), tower.model_version())) continue;
        const std::span<float> values(values_.data() + queries_.size() * dim, dim);
        if (Status status = tower.run(tensors, "user_vector", values); !status.ok()) return status;
        queries_.push_back({tower.model_version(), values, {}});
        if (weights) queries_.back().tables = add_tables(*weights, bundle);
    }
    if (queries_.empty()) {
        return {Code::unavailable, "the bundle has no user tower of a model version in the index"};
    }
    if (versions->size() == 1) {
        vector.emplace(queries_.front().values, queries_.front().tables);
    } else {
        vector.emplace(std::span<const VersionQuery>(queries_));
    }
    return {};
}

std::span<const CodeTable> RequestUser::add_tables(const CrossWeights& weights, const LoadedBundle& bundle) {
    made_tables_.push_back(bundle.items->compute_tables(encoded, weights, bundle.table_categories));
    ScratchVector<CodeTable>& tables = tables_.emplace_back();
    for (const CrossTable& table : made_tables_.back()) tables.push_back({table.codes, table.values, table.other});
    return tables;
}

}  // namespace karec
