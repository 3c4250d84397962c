#include "trees/trees_file.hpp"

#include <cstdint>
#include <limits>
#include <utility>

#include "base/npy.hpp"

namespace karec {
namespace {

constexpr std::int64_t kFormat = 1;
constexpr std::int64_t kMaxColumns = std::numeric_limits<std::int32_t>::max();

// Copies the array `name` with `n_axes` axes as T.
template <class T>
Status copy_array(const NpyArrays& arrays, const std::string& name, DType dtype, std::size_t n_axes,
                  std::vector<T>& to) {
    const NpyArray* array = find_array(arrays, name);
    if (array == nullptr || array->dtype != dtype || array->shape.size() != n_axes) {
        return Status::bad_format(name + " is missing, or not " + name_of(dtype) + " with " + std::to_string(n_axes) +
                                  " axes");
    }
    to.resize(array->bytes.size() / size_of(dtype));
    for (std::size_t i = 0; i < to.size(); ++i) {
        // Not one conditional expression: it would convert integers to float.
        if (dtype == DType::float32) {
            to[i] = static_cast<T>(array->at<float>(i));
        } else {
            to[i] = static_cast<T>(array->integer(i));
        }
    }
    return {};
}

Result<TreeEnsemble> read_ensemble(const NpyArrays& arrays, const std::string& number, std::size_t n_columns,
                                   std::size_t n_outputs) {
    std::vector<std::int64_t> sizes;
    std::vector<std::int64_t> sums;
    std::vector<std::int64_t> features;
    std::vector<float> values;
    std::vector<std::int64_t> children;
    std::vector<std::uint8_t> missing_first;
    Status status = copy_array(arrays, "sizes" + number, DType::int64, 1, sizes);
    if (status.ok()) status = copy_array(arrays, "sums" + number, DType::int64, 1, sums);
    if (status.ok()) status = copy_array(arrays, "features" + number, DType::int32, 1, features);
    if (status.ok()) status = copy_array(arrays, "values" + number, DType::float32, 1, values);
    if (status.ok()) status = copy_array(arrays, "children" + number, DType::int32, 2, children);
    if (status.ok()) status = copy_array(arrays, "missing_first" + number, DType::uint8, 1, missing_first);
    if (!status.ok()) return status;
    auto ensemble =
        TreeEnsemble::from_nodes({sizes, sums, features, values, children, missing_first}, n_columns, n_outputs);
    if (ensemble.ok()) return ensemble;
    return Status::bad_format("trees" + number + ": " + ensemble.status().message());
}

Result<InputTrees> read_input(const NpyArrays& arrays, std::size_t number, JsonValue entry) {
    const auto input = entry["input"].text();
    const auto n_columns = entry["columns"].integer();
    std::vector<std::string> outputs;
    for (const JsonValue output : entry["outputs"]) outputs.emplace_back(output.text().value_or(""));
    if (!input || !n_columns || *n_columns < 1 || *n_columns > kMaxColumns || outputs.empty()) {
        return Status::bad_format("its head: an ensemble has no input, columns or outputs");
    }
    auto ensemble =
        read_ensemble(arrays, "." + std::to_string(number), static_cast<std::size_t>(*n_columns), outputs.size());
    if (!ensemble.ok()) return ensemble.status();
    return InputTrees{std::string(*input), std::move(outputs), std::move(ensemble.value())};
}

}  // namespace

Result<TreesFile> TreesFile::read(std::span<const std::byte> npz) {
    const auto arrays = read_npz(npz);
    if (!arrays.ok()) return arrays.status();
    const auto head = read_head(arrays.value());
    if (!head.ok()) return head.status();
    const NpyArray* rest = find_array(arrays.value(), "rest");
    const JsonValue ensembles = head.value()["ensembles"];
    if (head.value()["format"].integer() != kFormat || rest == nullptr || ensembles.size() == 0) {
        return Status::bad_format("another format, or ensembles or rest are missing");
    }
    TreesFile file;
    file.model_xxh64 = head.value()["model_xxh64"].text().value_or("");
    file.rest = rest->bytes;
    for (const JsonValue entry : ensembles) {
        auto trees = read_input(arrays.value(), file.inputs.size(), entry);
        if (!trees.ok()) return trees.status();
        file.inputs.push_back(std::move(trees.value()));
    }
    return file;
}

}  // namespace karec
