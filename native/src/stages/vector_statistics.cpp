#include "stages/vector_statistics.hpp"

#include <algorithm>
#include <string>
#include <string_view>

#include "base/sealed_text.hpp"

namespace karec {
namespace {

constexpr const char* kName = "vector_statistics.txt";
constexpr const char* kIndex = "index.karec";

// Numbers with a / between them, `dim` of them.
Result<std::vector<double>> numbers_of(const SealedLine& line, std::size_t dim) {
    std::vector<double> numbers;
    numbers.reserve(dim);
    std::string_view rest = line.value;
    while (true) {
        const std::size_t end = std::min(rest.find('/'), rest.size());
        auto number = finite_number(rest.substr(0, end));
        if (!number.ok()) return line.refused(number.status().message());
        numbers.push_back(number.value());
        if (end == rest.size()) break;
        rest.remove_prefix(end + 1);
    }
    if (numbers.size() == dim && line.fields.empty()) return numbers;
    return line.refused("it has " + std::to_string(numbers.size()) + " numbers, expected " + std::to_string(dim));
}

Status check_head(const SealedLine& line, const Bundle& bundle, std::size_t dim) {
    const std::string* version = line.find("model_version");
    const std::string* width = line.find("dim");
    const std::string* sum = line.find("xxh64");
    if (line.word != "vectors" || line.value != kIndex || version == nullptr || width == nullptr || sum == nullptr) {
        return line.refused("it does not say which vectors it is of");
    }
    if (*version != std::to_string(bundle.model_version())) {
        return Status::bad_format("it is of model version " + *version + ", its bundle of " +
                                  std::to_string(bundle.model_version()));
    }
    if (*width != std::to_string(dim)) {
        return Status::bad_format("it is of " + *width + " dimensions, " + kIndex + " has " + std::to_string(dim));
    }
    const auto given = hexadecimal(*sum);
    const auto of_index = bundle.sum(kIndex);
    if (!of_index.ok()) return of_index.status();
    if (given.ok() && given.value() == of_index.value()) return {};
    return Status::bad_format(std::string("it was made from another index than ") + kIndex);
}

Result<VectorStatistics> statistics_of(const std::vector<SealedLine>& lines, const Bundle& bundle, std::size_t dim) {
    if (lines.empty()) return Status::bad_format("it does not say which vectors it is of");
    if (Status status = check_head(lines[0], bundle, dim); !status.ok()) return status;
    if (lines.size() != 3 + dim)
        return Status::bad_format("it has another number of lines than its dimensions ask for");
    VectorStatistics statistics;
    for (std::size_t i = 1; i < lines.size(); ++i) {
        const std::string_view word = i == 1 ? "mean" : i == 2 ? "variances" : "axis";
        if (lines[i].word != word) return lines[i].refused("expected " + std::string(word));
        auto numbers = numbers_of(lines[i], dim);
        if (!numbers.ok()) return numbers.status();
        if (i == 1) statistics.mean = std::move(numbers.value());
        if (i == 2) statistics.variances = std::move(numbers.value());
        if (i < 3) continue;
        for (const double x : numbers.value()) statistics.axes.push_back(double{static_cast<float>(x)});
    }
    return statistics;
}

}  // namespace

Result<VectorStatistics> VectorStatistics::of(const Bundle& bundle, std::size_t dim, bool verify) {
    const auto path = bundle.file(kName, verify);
    if (!path.ok()) return path.status();
    const auto lines = read_sealed_file(path.value(), "karec-statistics");
    if (!lines.ok()) return lines.status();
    auto statistics = statistics_of(lines.value(), bundle, dim);
    if (statistics.ok()) return statistics;
    return Status{statistics.status().code(), path.value() + ": " + statistics.status().message()};
}

}  // namespace karec
