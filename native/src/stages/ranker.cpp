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
constexpr const char* kSums = "ranker.sums.npz";
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
    const char* part = bundle.has(kTrees) ? kTrees : bundle.has(kSums) ? kSums : nullptr;
    const std::string path = bundle.path() + "/" + (part != nullptr ? part : kModel);
    const auto fail = [&](const std::string& reason) { return Status::bad_format(path + ": " + reason); };
    std::optional<MappedFile> part_file;
    TreesFile trees;
    std::optional<RowSums> sums;
    std::span<const std::byte> rest = file->bytes();
    if (part != nullptr) {
        auto mapped = map_file(bundle, part, verify);
        if (!mapped.ok()) return mapped.status();
        part_file = std::move(mapped.value());
        std::string model_xxh64;
        if (part == kTrees) {
            auto read = TreesFile::read(part_file->bytes());
            if (!read.ok()) return fail(read.status().message());
            trees = std::move(read.value());
            rest = trees.rest;
            model_xxh64 = trees.model_xxh64;
        } else {
            auto read = RowSumsFile::read(part_file->bytes());
            if (!read.ok()) return fail(read.status().message());
            sums = std::move(read->sums);
            rest = read->rest;
            model_xxh64 = read->model_xxh64;
        }
        if (model_xxh64 != bundle.checksum(kModel)) return fail("made from another file than ranker.onnx");
    }
    auto model = OnnxModel::open(rest, path, onnxruntime);
    if (!model.ok()) return model.status();
    if (model->model_version() != bundle.model_version()) {
        return fail("model version " + std::to_string(model->model_version()) + ", expected the bundle's, " +
                    std::to_string(bundle.model_version()));
    }
    Ranker ranker(ItemEncoder(users), std::move(model.value()));
    ranker.trees_ = std::move(trees.inputs);
    ranker.sums_ = std::move(sums);
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
    if (const Status status = check_sums(available); !status.ok()) return status;
    return model_.check_inputs(available);
}

Status Ranker::check_sums(std::vector<TensorSpec>& available) const {
    if (!sums_) return {};
    const std::pair<const char*, std::size_t> inputs[] = {{"item_ids", sums_->n_codes()},
                                                          {"item_numbers", sums_->n_numbers()}};
    for (const auto& [name, width] : inputs) {
        const TensorSpec* input = find_spec(available, name);
        if (input == nullptr || input->shape.back() != static_cast<std::int64_t>(width)) {
            return Status::bad_format("it reads " + std::to_string(width) + " columns of " + name +
                                      ", which this library does not compute");
        }
    }
    for (const RowSums::Output& output : sums_->outputs()) {
        if (find_spec(available, output.name) != nullptr) {
            return Status::bad_format("its output '" + output.name + "' has the name of an input");
        }
        available.push_back({output.name, DType::float32, {-1, static_cast<std::int64_t>(output.width)}});
    }
    return {};
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
    ScratchArray<float> row_sums;
    if (sums_) {
        row_sums = ScratchArray<float>(n * sums_->width());
        const float* from = &row_sums[0];
        sums_->sum(items.ids, items.numbers, n, std::span(&row_sums[0], n * sums_->width()));
        for (const RowSums::Output& output : sums_->outputs()) {
            const auto width = static_cast<std::int64_t>(output.width);
            tensors.push_back({output.name, DType::float32, {static_cast<std::int64_t>(n), width}, from});
            from += n * output.width;
        }
    }
    return model_.run(tensors, kOutput, logits);
}

}  // namespace karec
