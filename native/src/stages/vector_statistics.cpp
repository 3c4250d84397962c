#include "stages/vector_statistics.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/json.hpp"
#include "base/npy.hpp"
#include "base/regular_file.hpp"

namespace karec {
namespace {

constexpr std::int64_t kFormat = 1;
constexpr const char* kIndex = "index.karec";

Status check_head(const Json& head, const Bundle& bundle) {
    if (head["format"].integer() != kFormat) {
        return Status::bad_format("another format, expected " + std::to_string(kFormat) + ". Publish the bundle again");
    }
    const auto version = head["model_version"].integer();
    if (version != bundle.model_version()) {
        return Status::bad_format("model version " + (version ? std::to_string(*version) : "unknown") +
                                  ", expected the bundle's, " + std::to_string(bundle.model_version()));
    }
    if (head["index_xxh64"].text() == bundle.checksum(kIndex)) return {};
    return Status::bad_format(std::string("made from another index than ") + kIndex + ". Publish the bundle again");
}

// Copies an array of `shape` to `to`.
Status copy_numbers(const NpyArrays& arrays, const char* name, const std::vector<std::size_t>& shape,
                    std::vector<double>& to) {
    const NpyArray* array = find_array(arrays, name);
    if (array == nullptr || !array->is_floating() || array->shape != shape) {
        return Status::bad_format(std::string(name) +
                                  " is missing, not of floating numbers, or of another shape than " +
                                  std::to_string(shape.front()) + " dimensions need");
    }
    to.resize(array->bytes.size() / size_of(array->dtype));
    for (std::size_t i = 0; i < to.size(); ++i) to[i] = array->real(i);
    const bool is_finite = std::ranges::all_of(to, [](double x) { return std::isfinite(x); });
    return is_finite ? Status() : Status::bad_format(std::string(name) + " has a number that is not finite");
}

Result<VectorStatistics> from_arrays(const NpyArrays& arrays, const Bundle& bundle, std::size_t dim) {
    const auto head = read_head(arrays);
    if (!head.ok()) return head.status();
    VectorStatistics statistics;
    Status status = check_head(head.value(), bundle);
    if (status.ok()) status = copy_numbers(arrays, "mean", {dim}, statistics.mean);
    if (status.ok()) status = copy_numbers(arrays, "variances", {dim}, statistics.variances);
    if (status.ok()) status = copy_numbers(arrays, "axes", {dim, dim}, statistics.axes);
    if (!status.ok()) return status;
    return statistics;
}

}  // namespace

Result<VectorStatistics> VectorStatistics::read(const Bundle& bundle, std::size_t dim, bool verify) {
    const auto path = bundle.file("vector_statistics.npz", verify);
    if (!path.ok()) return path.status();
    const auto file = MappedFile::open(path.value());
    if (!file.ok()) return file.status();
    const auto arrays = read_npz(file->bytes());
    auto statistics = arrays.ok() ? from_arrays(arrays.value(), bundle, dim) : arrays.status();
    if (statistics.ok()) return statistics;
    return Status{statistics.status().code(), path.value() + ": " + statistics.status().message()};
}

}  // namespace karec
