#include "stages/loaded_bundle.hpp"

#include <algorithm>
#include <cstdio>
#include <span>
#include <string_view>
#include <utility>

#include "base/checks.hpp"
#include "stages/steps.hpp"
#include "stages/vector_statistics.hpp"

namespace karec {
namespace {

constexpr std::string_view kTower = "user_tower.onnx";

// Of another model version than the bundle's own.
std::string tower_name(std::int64_t version) {
    char name[64];
    std::snprintf(name, sizeof name, "user_tower.v%010lld.onnx", static_cast<long long>(version));
    return name;
}

bool is_other_tower(std::string_view name) noexcept {
    return name.starts_with("user_tower.v") && name.ends_with(".onnx");
}

Status same_version(const std::string& what, std::int64_t version, const Bundle& bundle) {
    if (version == bundle.model_version()) return {};
    return Status::bad_format(what + " is of model version " + std::to_string(version) + ", its bundle of " +
                              std::to_string(bundle.model_version()));
}

Status add_tower(LoadedBundle& to, const std::string& name, const StagesOptions& options) {
    const auto path = to.bundle.file(name, options.verify);
    if (!path.ok()) return path.status();
    auto tower = UserTower::open(path.value(), options.onnxruntime, options.tower_threads);
    if (!tower.ok()) return tower.status();
    const std::int64_t version = tower->model_version();
    if (name == kTower) {
        if (Status status = same_version(path.value(), version, to.bundle); !status.ok()) return status;
    } else if (name != tower_name(version) || version == to.bundle.model_version()) {
        return Status::bad_format(path.value() + " is of model version " + std::to_string(version) +
                                  ", its bundle of " + std::to_string(to.bundle.model_version()) +
                                  ": the tower of another version N is called user_tower.vN.onnx, N in ten digits");
    }
    if (tower->dim() != 0 && tower->dim() != to.index.dim()) {
        return Status::bad_format(path.value() + " gives " + std::to_string(tower->dim()) +
                                  " dimensions, the index has " + std::to_string(to.index.dim()));
    }
    to.towers.push_back(std::make_shared<const UserTower>(std::move(tower.value())));
    return {};
}

// Vectors of each model version meet a user vector: a bundle with towers has one for each.
Status check_versions(const std::string& path, const IndexView& view, const Bundle& bundle) {
    const auto has = [names = bundle.names()](const std::string& name) {
        return std::ranges::find(names, name) != names.end();
    };
    if (!has(std::string(kTower))) return {};
    const auto standing = view.model_versions();
    if (!standing.ok()) return standing.status();
    for (const std::int64_t version : standing.value()) {
        if (version == bundle.model_version() || has(tower_name(version))) continue;
        return Status::bad_format(path + " holds works of model version " + std::to_string(version) +
                                  ", which no user vector meets: " + tower_name(version) + " is missing");
    }
    return {};
}

// A map for each step: of a dpp that centres or whitens, by the bundle's statistics.
Status add_maps(LoadedBundle& to, const StageSettings& settings, bool verify) {
    std::optional<VectorStatistics> statistics;
    for (const StageStep& step : settings.steps) {
        std::optional<VectorMap>& map = to.maps.emplace_back();
        const auto* dpp = std::get_if<DppStep>(&step.what);
        if (dpp == nullptr || !(dpp->centre || dpp->whiten > 0.0)) continue;
        if (!statistics) {
            auto read = VectorStatistics::read(to.bundle, to.index.dim(), verify);
            if (!read.ok()) return Status{read.status().code(), "step " + step.name + ": " + read.status().message()};
            statistics = std::move(read.value());
        }
        const std::span<const double> mean =
            dpp->centre ? std::span<const double>(statistics->mean) : std::span<const double>{};
        auto made = VectorMap::make(mean, statistics->axes, statistics->variances, dpp->whiten);
        if (!made.ok()) return made.status();
        map = std::move(made.value());
    }
    return {};
}

Status check_vector(std::span<const float> values, const std::string& name, std::size_t dim) {
    if (values.size() != dim) {
        return Status::invalid(name + " has " + std::to_string(values.size()) + " values, expected " +
                               std::to_string(dim));
    }
    return check_finite(values, name.c_str());
}

}  // namespace

Result<std::shared_ptr<const LoadedBundle>> load_bundle(const std::string& root, const StageSettings& settings,
                                                        const StagesOptions& options) {
    auto bundle = Bundle::open(root);
    if (!bundle.ok()) return bundle.status();
    const auto index_path = bundle->file("index.karec", options.verify);
    if (!index_path.ok()) return index_path.status();
    ItemIndex::OpenOptions open;
    open.verify = options.verify;
    auto index = ItemIndex::open(index_path.value(), open);
    if (!index.ok()) return index.status();
    Status status = same_version(index_path.value(), index->model_version(), bundle.value());
    if (!status.ok()) return status;
    const IndexView view = index->pinned();
    status = check_versions(index_path.value(), view, bundle.value());
    if (!status.ok()) return status;
    for (const StageStep& step : settings.steps) {
        if (status = check_step(step, view); !status.ok()) return status;
    }
    auto loaded =
        std::make_shared<LoadedBundle>(LoadedBundle{std::move(bundle.value()), std::move(index.value()), {}, {}, {}});
    if (status = add_maps(*loaded, settings, options.verify); !status.ok()) return status;
    if (options.onnxruntime.empty()) return std::shared_ptr<const LoadedBundle>(std::move(loaded));
    if (status = add_tower(*loaded, std::string(kTower), options); !status.ok()) return status;
    for (const std::string& name : loaded->bundle.names()) {
        if (!is_other_tower(name)) continue;
        if (status = add_tower(*loaded, name, options); !status.ok()) return status;
    }
    auto encoder = UserEncoder::open(loaded->bundle, options.verify);
    if (!encoder.ok() && encoder.status().code() != Code::unavailable) return encoder.status();
    if (encoder.ok()) loaded->encoder = std::move(encoder.value());
    return std::shared_ptr<const LoadedBundle>(std::move(loaded));
}

Status check_request(const Request& request, const IndexView& view) {
    if (request.k == 0) return Status::invalid("k must be positive, got 0");
    if (!request.recall_scores.empty()) {
        Status status =
            check_lengths("recall_scores", request.recall_scores.size(), "candidates", request.candidates.size());
        if (!status.ok()) return status;
        if (status = check_finite(request.recall_scores, "recall_scores"); !status.ok()) return status;
    }
    if (!request.user_vector.empty() && !request.user_vectors.empty()) {
        return Status::invalid("give either one user_vector or user_vectors by model version");
    }
    const bool has_vector = !request.user_vector.empty() || !request.user_vectors.empty();
    if (request.user != nullptr && (has_vector || !request.user_inputs.empty())) {
        return Status::invalid("give either a user by raw ids, or user vectors or inputs");
    }
    for (const VersionQuery& each : request.user_vectors) {
        const std::string name = "the user vector of model version " + std::to_string(each.model_version);
        if (Status status = check_vector(each.values, name, view.dim()); !status.ok()) return status;
    }
    if (request.user_vector.empty()) return {};
    return check_vector(request.user_vector, "user_vector", view.dim());
}

Status UserQuery::prepare(const Request& request, std::string_view scene, const LoadedBundle& on,
                          const IndexView& view) {
    if (!request.user_vectors.empty()) {
        query.emplace(request.user_vectors);
    } else if (!request.user_vector.empty()) {
        query.emplace(request.user_vector);
    } else if (request.user != nullptr) {
        return run_encoded(request, scene, on, view);
    } else if (!on.towers.empty()) {
        return run_towers(request.user_inputs, on, view);
    }
    return {};
}

Status UserQuery::run_encoded(const Request& request, std::string_view scene, const LoadedBundle& on,
                              const IndexView& view) {
    if (on.towers.empty()) return {Code::unavailable, "a user by raw ids needs a tower: open with ONNX Runtime"};
    if (!on.encoder) return {Code::unavailable, on.bundle.path() + " has no encoder.npz with its snapshot"};
    ScratchVector<std::int64_t> codes(on.encoder->n_codes());
    ScratchVector<float> numbers(on.encoder->n_numbers());
    Status status = on.encoder->encode(*request.user, scene, request.time_ms, codes, numbers);
    if (!status.ok()) return status;
    ScratchVector<Tensor> inputs;
    std::size_t code = 0;
    std::size_t number = 0;
    for (const TensorSpec& output : on.encoder->outputs()) {
        const bool is_code = output.dtype == DType::int64;
        const void* data = is_code ? static_cast<const void*>(codes.data() + code) : numbers.data() + number;
        std::size_t n = 1;
        for (const std::int64_t size : output.shape) n *= static_cast<std::size_t>(size);
        (is_code ? code : number) += n;
        inputs.push_back({output.name, output.dtype, output.shape, data});
    }
    return run_towers(inputs, on, view);
}

Status UserQuery::run_towers(std::span<const Tensor> inputs, const LoadedBundle& on, const IndexView& view) {
    auto standing = view.model_versions();
    if (!standing.ok()) return standing.status();
    if (standing->empty()) standing->push_back(on.bundle.model_version());  // an empty index is of no version
    const std::size_t dim = view.dim();
    values_.resize(on.towers.size() * dim);
    for (const auto& tower : on.towers) {
        if (!std::ranges::binary_search(standing.value(), tower->model_version())) continue;
        const std::span<float> to(values_.data() + each_.size() * dim, dim);
        if (Status status = tower->run(inputs, to); !status.ok()) return status;
        each_.push_back({tower->model_version(), to});
    }
    if (each_.empty()) {
        return {Code::unavailable, "the index holds no vectors of a model version that the bundle has a user tower of"};
    }
    if (standing->size() == 1) {
        query.emplace(each_.front().values);
    } else {
        query.emplace(std::span<const VersionQuery>(each_));
    }
    return {};
}

}  // namespace karec
