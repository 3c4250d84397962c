#include "stages/ranker.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/json.hpp"
#include "base/regular_file.hpp"

namespace karec {
namespace {

constexpr const char* kModel = "ranker.onnx";
constexpr const char* kTrees = "ranker.trees.npz";
constexpr const char* kOutput = "logits";
constexpr std::string_view kDense = "dense";

Result<MappedFile> map_file(const Bundle& bundle, const char* name, bool verify) {
    const auto path = bundle.file(name, verify);
    return path.ok() ? MappedFile::open(path.value()) : path.status();
}

const TensorSpec* find_spec(std::span<const TensorSpec> specs, std::string_view name) noexcept {
    const auto found = std::ranges::find(specs, name, &TensorSpec::name);
    return found == specs.end() ? nullptr : &*found;
}

}  // namespace

Result<Ranker> Ranker::open(const Bundle& bundle, const UserEncoder& users, const std::string& onnxruntime,
                            bool verify) {
    const auto file = map_file(bundle, kModel, verify);
    if (!file.ok()) return file.status();
    const std::string path = bundle.path() + "/" + (bundle.has(kTrees) ? kTrees : kModel);
    const auto fail = [&](const std::string& reason) { return Status::bad_format(path + ": " + reason); };
    std::optional<MappedFile> trees_file;
    TreesFile trees;
    if (bundle.has(kTrees)) {
        auto mapped = map_file(bundle, kTrees, verify);
        if (!mapped.ok()) return mapped.status();
        trees_file = std::move(mapped.value());
        auto read = TreesFile::read(trees_file->bytes());
        if (!read.ok()) return fail(read.status().message());
        trees = std::move(read.value());
        if (trees.model_xxh64 != bundle.checksum(kModel)) return fail("made from another file than ranker.onnx");
    }
    auto model = OnnxModel::open(trees_file ? trees.rest : file->bytes(), path, onnxruntime);
    if (!model.ok()) return model.status();
    if (model->model_version() != bundle.model_version()) {
        return fail("model version " + std::to_string(model->model_version()) + ", expected the bundle's, " +
                    std::to_string(bundle.model_version()));
    }
    Ranker ranker(ItemEncoder(users), std::move(model.value()));
    ranker.trees_ = std::move(trees.inputs);
    Status status = ranker.check_inputs({users.outputs().begin(), users.outputs().end()});
    if (!status.ok()) return fail(status.message());
    if (status = ranker.read_tasks(); !status.ok()) return fail(status.message());
    return ranker;
}

Status Ranker::check_inputs(std::vector<TensorSpec> available) {
    available.insert(available.end(), items_.outputs().begin(), items_.outputs().end());
    std::vector<TensorSpec> sums;
    has_dense_ = find_spec(model_.inputs(), kDense) != nullptr;
    for (const InputTrees& trees : trees_) {
        const TensorSpec* input = find_spec(available, trees.input);
        const auto n_columns = static_cast<std::int64_t>(trees.ensemble.n_features());
        const bool fits = input != nullptr && input->dtype == DType::float32 && input->shape.size() == 2 &&
                          input->shape[0] < 0 && input->shape[1] == n_columns;
        if (!fits) {
            return Status::bad_format("its trees read the input '" + trees.input + "' float32 (N, " +
                                      std::to_string(n_columns) + "), which this library does not compute");
        }
        has_dense_ = has_dense_ || trees.input == kDense;
        for (const std::string& output : trees.outputs) sums.push_back({output, DType::float32, {-1, 1}});
    }
    available.insert(available.end(), sums.begin(), sums.end());
    return model_.check_inputs(available);
}

Status Ranker::read_tasks() {
    const auto text = model_.metadata("tasks");
    if (!text.ok()) return text.status();
    const auto json = Json::parse(std::string_view(text.value()));
    if (!json.ok()) return json.status();
    for (const JsonValue task : json->root()) tasks_.emplace_back(task.text().value_or(""));
    const bool has_empty = std::ranges::find(tasks_, "") != tasks_.end();
    const auto width = model_.output_width(kOutput);
    if (!width.ok()) return width.status();
    if (!tasks_.empty() && !has_empty && (width.value() == 0 || width.value() == tasks_.size())) return {};
    return Status::bad_format("metadata tasks is " + text.value() + ", expected the " + std::to_string(width.value()) +
                              " names of the logits");
}

Status Ranker::run(const EncodedUser& user, std::span<const Tensor> user_tensors, std::span<const std::int64_t> ids,
                   std::int64_t time_ms, std::span<float> logits) const {
    const std::size_t n = ids.size();
    EncodedItems items;
    Status status = items_.encode(ids, time_ms, user, has_dense_, items);
    if (!status.ok()) return status;
    const void* const data[] = {items.ids.data(), items.numbers.data(), items.cowatch.data(), items.crosses.data(),
                                items.dense.data()};
    ScratchVector<Tensor> tensors(user_tensors.begin(), user_tensors.end());
    const auto add = [&](const TensorSpec& spec, const void* values) {
        tensors.push_back({spec.name, spec.dtype, {spec.shape.begin(), spec.shape.end()}, values});
        tensors.back().shape.front() = static_cast<std::int64_t>(n);
    };
    for (std::size_t i = 0; i < items_.outputs().size(); ++i) {
        if (items_.outputs()[i].name != kDense || has_dense_) add(items_.outputs()[i], data[i]);
    }
    ScratchVector<ScratchVector<float>> sums;
    sums.reserve(trees_.size());
    for (const InputTrees& trees : trees_) {
        const auto rows = std::ranges::find(tensors, std::string_view(trees.input), &Tensor::name);
        const std::span<const float> values(static_cast<const float*>(rows->data), n * trees.ensemble.n_features());
        ScratchVector<float>& to = sums.emplace_back(n * trees.outputs.size());
        if (status = trees.ensemble.scores(values, to); !status.ok()) return status;
        for (std::size_t t = 0; t < trees.outputs.size(); ++t) {
            tensors.push_back({trees.outputs[t], DType::float32, {static_cast<std::int64_t>(n), 1}, to.data() + t * n});
        }
    }
    return model_.run(tensors, kOutput, logits);
}

}  // namespace karec
