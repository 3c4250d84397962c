#include "sums/row_sums.hpp"

#include <cstdint>
#include <utility>
#include <vector>

#include "base/npy.hpp"

namespace karec {
namespace {

constexpr std::int64_t kFormat = 1;
constexpr std::int64_t kMaxColumns = 1 << 20;

// Copies the array `name` of one axis.
template <class T>
Status copy_array(const NpyArrays& arrays, const char* name, DType dtype, std::vector<T>& to) {
    const NpyArray* array = find_array(arrays, name);
    if (array == nullptr || array->dtype != dtype || array->shape.size() != 1) {
        return Status::bad_format(std::string(name) + " is missing, or not " + name_of(dtype) + " with 1 axis");
    }
    to.resize(array->size());
    for (std::size_t i = 0; i < to.size(); ++i) to[i] = array->at<T>(i);
    return {};
}

// −1 if the number is missing or outside of its range.
std::int64_t columns_of(JsonValue value) {
    const auto n = value.integer();
    return n && *n >= 0 && *n <= kMaxColumns ? *n : -1;
}

}  // namespace

Result<RowSumsFile> RowSumsFile::read(std::span<const std::byte> npz) {
    const auto arrays = read_npz(npz);
    if (!arrays.ok()) return arrays.status();
    const auto head = read_head(arrays.value());
    if (!head.ok()) return head.status();
    const NpyArray* rest = find_array(arrays.value(), "rest");
    const NpyArray* rows = find_array(arrays.value(), "rows");
    const std::int64_t n_codes = columns_of(head.value()["n_codes"]);
    if (head.value()["format"].integer() != kFormat || rest == nullptr || n_codes < 0) {
        return Status::bad_format("another format, or rest or n_codes are missing");
    }
    std::vector<RowSums::Output> outputs;
    for (const JsonValue output : head.value()["outputs"]) {
        const std::int64_t width = columns_of(output["width"]);
        outputs.push_back(
            {std::string(output["name"].text().value_or("")), static_cast<std::size_t>(width < 0 ? 0 : width)});
    }
    if (rows == nullptr || rows->dtype != DType::float32 || rows->shape.size() != 2) {
        return Status::bad_format("rows is missing, or not float32 with 2 axes");
    }
    std::vector<std::int64_t> code_columns;
    std::vector<std::int64_t> code_sizes;
    std::vector<std::int64_t> knot_counts;
    std::vector<double> knots;
    Status status = copy_array(arrays.value(), "code_columns", DType::int64, code_columns);
    if (status.ok()) status = copy_array(arrays.value(), "code_sizes", DType::int64, code_sizes);
    if (status.ok()) status = copy_array(arrays.value(), "knot_counts", DType::int64, knot_counts);
    if (status.ok()) status = copy_array(arrays.value(), "knots", DType::float64, knots);
    if (!status.ok()) return status;
    auto sums = RowSums::from_table({rows->bytes, code_columns, code_sizes, knot_counts, knots},
                                    static_cast<std::size_t>(n_codes), std::move(outputs));
    if (!sums.ok()) return sums.status();
    if (rows->shape[1] != sums->width()) return Status::bad_format("rows and outputs have different widths");
    return RowSumsFile{std::string(head.value()["model_xxh64"].text().value_or("")), std::move(sums.value()),
                       rest->bytes};
}

}  // namespace karec
