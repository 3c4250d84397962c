#include "base/sealed_text.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/regular_file.hpp"
#include "base/xxh64.hpp"

namespace karec {
namespace {

constexpr std::size_t kMostBytes = std::size_t{16} << 20;

int digit(char c) noexcept {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

bool plain(char c) noexcept {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("._+-/").find(c) != std::string_view::npos;
}

bool decode(std::string_view text, std::string& out) {
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (plain(text[i])) {
            out += text[i];
            continue;
        }
        const int high = text[i] == '%' && i + 2 < text.size() ? digit(text[i + 1]) : -1;
        const int low = high >= 0 ? digit(text[i + 2]) : -1;
        if (low < 0) return false;
        out += static_cast<char>(high * 16 + low);
        i += 2;
    }
    return !out.empty();
}

std::string_view cut(std::string_view& text, char at) noexcept {
    const std::size_t end = std::min(text.find(at), text.size());
    const std::string_view head = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    return head;
}

Result<SealedLine> parse(std::string_view text, std::size_t number) {
    SealedLine line;
    line.number = number;
    if (text.empty() || text.back() == ' ') return line.refused("a part is empty");
    if (!decode(cut(text, ' '), line.word)) return line.refused("it does not start with a word");
    while (!text.empty()) {
        std::string_view part = cut(text, ' ');
        const bool field = part.find('=') != std::string_view::npos;
        std::string name;
        std::string value;
        if (field && !decode(cut(part, '='), name)) return line.refused("a field has no name");
        if (!decode(part, value)) return line.refused("a value is empty or holds a byte that must be %XX");
        if (!field && (!line.value.empty() || !line.fields.empty())) return line.refused("a second value");
        if (field && line.find(name) != nullptr) return line.refused("'" + name + "' stands twice");
        if (field) {
            line.fields.emplace_back(std::move(name), std::move(value));
        } else {
            line.value = std::move(value);
        }
    }
    return line;
}

}  // namespace

const std::string* SealedLine::find(std::string_view name) const noexcept {
    for (const auto& [key, held] : fields) {
        if (key == name) return &held;
    }
    return nullptr;
}

Status SealedLine::refused(const std::string& why) const {
    return Status::bad_format("line " + std::to_string(number) + ": " + why);
}

Result<std::vector<SealedLine>> read_sealed_text(std::string_view text, std::string_view kind) {
    if (text.size() > kMostBytes) return Status::bad_format("it is longer than 16 MiB");
    const std::size_t last =
        text.size() < 2 || text.back() != '\n' ? std::string_view::npos : text.rfind('\n', text.size() - 2);
    if (last == std::string_view::npos) return Status::bad_format("it is not whole: the line 'seal' is missing");
    const std::string_view body = text.substr(0, last + 1);
    std::string_view seal = text.substr(last + 1, text.size() - last - 2);
    if (cut(seal, ' ') != "seal") return Status::bad_format("it is not whole: the line 'seal' is missing");
    auto sum = hexadecimal(seal);
    if (!sum.ok() || sum.value() != xxh64(std::as_bytes(std::span(body)))) {
        return Status::bad_format("it was altered: the seal does not fit");
    }
    std::vector<SealedLine> lines;
    std::string_view rest = body;
    for (std::size_t number = 1; !rest.empty(); ++number) {
        auto line = parse(cut(rest, '\n'), number);
        if (!line.ok()) return line.status();
        lines.push_back(std::move(line.value()));
    }
    if (lines.front().word != kind) return Status::bad_format("it is no file of kind '" + std::string(kind) + "'");
    if (lines.front().value != "1" || !lines.front().fields.empty()) {
        return Status::bad_format("it is of format '" + lines.front().value + "', this library reads format 1");
    }
    lines.erase(lines.begin());
    return lines;
}

Result<std::vector<SealedLine>> read_sealed_file(const std::string& path, std::string_view kind) {
    auto file = MappedFile::open(path);
    if (!file.ok()) return file.status();
    const auto bytes = file->bytes();
    auto lines = read_sealed_text({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, kind);
    if (!lines.ok()) return Status{lines.status().code(), path + ": " + lines.status().message()};
    return lines;
}

Result<std::int64_t> whole_number(std::string_view text) {
    std::int64_t value = 0;
    const char* const begin = text.data();
    const char* const end = begin + text.size();
    const auto [at, error] = std::from_chars(begin, end, value);
    if (error == std::errc() && at == end) return value;
    return Status::bad_format("'" + std::string(text) + "' is no whole number of 64 bits");
}

Result<double> finite_number(std::string_view text) {
    double value = 0.0;
    const char* const begin = text.data();
    const char* const end = begin + text.size();
    const auto [at, error] = std::from_chars(begin, end, value);
    if (error == std::errc() && at == end && std::isfinite(value)) return value;
    return Status::bad_format("'" + std::string(text) + "' is no finite number");
}

Result<std::uint64_t> hexadecimal(std::string_view text) {
    std::uint64_t value = 0;
    const char* const begin = text.data();
    const char* const end = begin + text.size();
    const auto [at, error] = std::from_chars(begin, end, value, 16);
    const bool lower = std::ranges::none_of(text, [](char c) { return c >= 'A' && c <= 'F'; });
    if (text.size() == 16 && error == std::errc() && at == end && lower) return value;
    return Status::bad_format("'" + std::string(text) + "' is no sum of 16 hexadecimal digits");
}

}  // namespace karec
