#include "stages/loaded_bundle.hpp"

#include <cstdio>
#include <span>
#include <string_view>
#include <utility>

#include "base/regular_file.hpp"
#include "stages/steps.hpp"
#include "stages/vector_statistics.hpp"

namespace karec {
namespace {

constexpr std::string_view kTower = "user_tower.onnx";

constexpr std::string_view kWeights = "cross_weights.npz";

// The name of a file of another model version than the bundle's.
std::string name_of_version(const char* begin, std::int64_t version, const char* end) {
    char name[64];
    std::snprintf(name, sizeof name, "%s.v%010lld%s", begin, static_cast<long long>(version), end);
    return name;
}

std::string tower_name(std::int64_t version) {
    return name_of_version("user_tower", version, ".onnx");
}

bool is_other_tower(std::string_view name) noexcept {
    return name.starts_with("user_tower.v") && name.ends_with(".onnx");
}

Status refuse_version(const std::string& path, std::int64_t version, const Bundle& bundle) {
    return Status::bad_format(path + " has model version " + std::to_string(version) + ", expected the bundle's, " +
                              std::to_string(bundle.model_version()));
}

// Reads the cross weights of the last tower.
Status add_weights(LoadedBundle& loaded, const std::string& name, bool verify) {
    const auto path = loaded.bundle.file(name, verify);
    if (!path.ok()) return path.status();
    const auto file = MappedFile::open(path.value());
    if (!file.ok()) return file.status();
    auto weights = CrossWeights::read(file->bytes());
    const auto columns = loaded.index.pinned().code_columns();
    if (!columns.ok()) return columns.status();
    if (!loaded.items) loaded.items.emplace(*loaded.encoder);
    const Status status = weights.ok()
                              ? loaded.items->find_categories(columns.value(), weights.value(), loaded.table_categories)
                              : weights.status();
    if (!status.ok()) return Status::bad_format(path.value() + ": " + status.message() + ". Publish the run again");
    loaded.towers.back().weights = std::move(weights.value());
    return {};
}

Status add_tower(LoadedBundle& loaded, const std::string& name, const StagesOptions& options) {
    const auto path = loaded.bundle.file(name, options.verify);
    if (!path.ok()) return path.status();
    const auto file = MappedFile::open(path.value());
    if (!file.ok()) return file.status();
    auto tower = OnnxModel::open(file->bytes(), path.value(), options.onnxruntime);
    if (!tower.ok()) return tower.status();
    const std::int64_t version = tower->model_version();
    if (name == kTower && version != loaded.bundle.model_version()) {
        return refuse_version(path.value(), version, loaded.bundle);
    }
    if (name != kTower && (name != tower_name(version) || version == loaded.bundle.model_version())) {
        return Status::bad_format(path.value() + " has model version " + std::to_string(version) +
                                  ", expected the version in its name, other than the bundle's");
    }
    if (Status status = tower->check_inputs(loaded.encoder->outputs()); !status.ok()) return status;
    const auto width = tower->output_width("user_vector");
    if (!width.ok()) return width.status();
    if (width.value() != 0 && width.value() != loaded.index.pinned().dim()) {
        return Status::bad_format(path.value() + " gives " + std::to_string(width.value()) +
                                  " dimensions, the index has " + std::to_string(loaded.index.pinned().dim()));
    }
    loaded.towers.push_back({std::move(tower.value()), std::nullopt});
    if (!loaded.bundle.has(kWeights)) return {};
    return add_weights(loaded,
                       name == kTower ? std::string(kWeights) : name_of_version("cross_weights", version, ".npz"),
                       options.verify);
}

// A bundle with towers has one for each model version of its index.
Status check_versions(const std::string& path, const IndexView& view, const Bundle& bundle) {
    if (!bundle.has(kTower)) return {};
    const auto versions = view.model_versions();
    if (!versions.ok()) return versions.status();
    for (const std::int64_t version : versions.value()) {
        if (version == bundle.model_version() || bundle.has(tower_name(version))) continue;
        return Status::bad_format(path + " has rows of model version " + std::to_string(version) +
                                  ", but the bundle has no " + tower_name(version));
    }
    return {};
}

// Adds the vector map of each step. Only a dpp with centre or whiten has one.
Status add_maps(LoadedBundle& loaded, const StageSettings& settings, bool verify) {
    std::optional<VectorStatistics> statistics;
    for (const StageStep& step : settings.steps) {
        std::optional<VectorMap>& map = loaded.maps.emplace_back();
        const auto* dpp = std::get_if<DppStep>(&step.settings);
        if (dpp == nullptr || !(dpp->centre || dpp->whiten > 0.0)) continue;
        if (!statistics) {
            auto read = VectorStatistics::read(loaded.bundle, loaded.index.pinned().dim(), verify);
            if (!read.ok()) return read.status();
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

// Opens the models that the steps need, and the encoder of their inputs.
Status add_models(LoadedBundle& loaded, const StageSettings& settings, const StagesOptions& options) {
    const bool has_ranker = settings.has_step<RankerStep>();
    const bool has_towers = settings.has_step<InnerProductStep>() && !options.onnxruntime.empty();
    if (has_ranker && options.onnxruntime.empty()) {
        return {Code::unavailable, "the step ranker needs ONNX Runtime: set StagesOptions::onnxruntime"};
    }
    if (!has_ranker && !has_towers) return {};
    auto encoder = UserEncoder::open(loaded.bundle, options.verify);
    if (!encoder.ok()) return encoder.status();
    loaded.encoder = std::move(encoder.value());
    if (has_ranker) {
        auto ranker = Ranker::open(loaded.bundle, *loaded.encoder, options.onnxruntime, options.verify);
        if (!ranker.ok()) return ranker.status();
        loaded.ranker = std::move(ranker.value());
    }
    Status status = has_towers ? add_tower(loaded, std::string(kTower), options) : Status();
    for (const std::string& name : loaded.bundle.names()) {
        if (status.ok() && has_towers && is_other_tower(name)) status = add_tower(loaded, name, options);
    }
    return status;
}

}  // namespace

Result<std::shared_ptr<const LoadedBundle>> load_bundle(const std::string& root, const StageSettings& settings,
                                                        const StagesOptions& options) {
    auto bundle = Bundle::open(root);
    if (!bundle.ok()) return bundle.status();
    const auto path = bundle->file("index.karec", options.verify);
    if (!path.ok()) return path.status();
    ItemIndex::OpenOptions open_options;
    open_options.verify = options.verify;
    auto index = ItemIndex::open(path.value(), open_options);
    if (!index.ok()) return index.status();
    const std::int64_t version = index->pinned().model_version();
    if (version != bundle->model_version()) return refuse_version(path.value(), version, bundle.value());
    const IndexView view = index->pinned();
    Status status = check_versions(path.value(), view, bundle.value());
    auto loaded = std::make_shared<LoadedBundle>(std::move(bundle.value()), std::move(index.value()));
    if (status.ok()) status = add_models(*loaded, settings, options);
    for (const StageStep& step : settings.steps) {
        if (status.ok())
            status = check_step(step, view, loaded->ranker ? loaded->ranker->tasks() : std::span<const std::string>());
    }
    if (status.ok()) status = add_maps(*loaded, settings, options.verify);
    if (!status.ok()) return status;
    return std::shared_ptr<const LoadedBundle>(std::move(loaded));
}

}  // namespace karec
