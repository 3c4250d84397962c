#include "base/npy.hpp"

#include <algorithm>
#include <bit>
#include <charconv>
#include <optional>
#include <system_error>

static_assert(std::endian::native == std::endian::little);

namespace karec {
namespace {

constexpr std::size_t kMaxAxes = 8;
constexpr std::size_t kMaxMembers = 4096;

template <class T>
T number_at(std::span<const std::byte> bytes, std::size_t at) noexcept {
    T value;
    std::memcpy(&value, bytes.data() + at, sizeof(T));
    return value;
}

std::optional<DType> dtype_named(std::string_view name) noexcept {
    constexpr std::pair<std::string_view, DType> kNames[] = {
        {"|i1", DType::int8},    {"<i2", DType::int16},   {"<i4", DType::int32},   {"<i8", DType::int64},
        {"|u1", DType::uint8},   {"<u2", DType::uint16},  {"<u4", DType::uint32},  {"<u8", DType::uint64},
        {"<f2", DType::float16}, {"<f4", DType::float32}, {"<f8", DType::float64}, {"|b1", DType::boolean}};
    for (const auto& [known, dtype] : kNames) {
        if (known == name) return dtype;
    }
    return std::nullopt;
}

// Removes the text before `until` and `until` itself, and returns the former; nullopt if `text` lacks `until`.
std::optional<std::string_view> split_before(std::string_view& text, std::string_view until) noexcept {
    const std::size_t end = text.find(until);
    if (end == std::string_view::npos) return std::nullopt;
    const std::string_view found = text.substr(0, end);
    text.remove_prefix(end + until.size());
    return found;
}

// Reads the numbers between the brackets of a tuple: "3, 4", "3," or "".
bool read_shape(std::string_view text, std::vector<std::size_t>& shape) {
    while (!text.empty()) {
        std::size_t size = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), size);
        if (error != std::errc() || shape.size() == kMaxAxes) return false;
        text.remove_prefix(static_cast<std::size_t>(end - text.data()));
        shape.push_back(size);
        if (text.empty()) return shape.size() > 1;  // a tuple of one ends with a comma
        if (!text.starts_with(',')) return false;
        text.remove_prefix(1);
        if (text.empty()) return shape.size() == 1;
        if (!text.starts_with(' ')) return false;
        text.remove_prefix(1);
        if (text.empty()) return false;
    }
    return true;
}

}  // namespace

std::int64_t NpyArray::integer(std::size_t i) const noexcept {
    switch (dtype) {
        case DType::int8:
            return at<std::int8_t>(i);
        case DType::int16:
            return at<std::int16_t>(i);
        case DType::int32:
            return at<std::int32_t>(i);
        case DType::uint8:
            return at<std::uint8_t>(i);
        case DType::uint16:
            return at<std::uint16_t>(i);
        case DType::uint32:
            return at<std::uint32_t>(i);
        default:
            return at<std::int64_t>(i);
    }
}

double NpyArray::real(std::size_t i) const noexcept {
    if (dtype == DType::float16) return static_cast<double>(half_to_float(at<std::uint16_t>(i)));
    return dtype == DType::float32 ? static_cast<double>(at<float>(i)) : at<double>(i);
}

Result<NpyArray> read_npy(std::span<const std::byte> bytes) {
    constexpr std::string_view kMagic("\x93NUMPY\x01\x00", 8);
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (bytes.size() < 10 || !text.starts_with(kMagic)) return Status::bad_format("not a .npy file of format 1.0");
    const std::size_t length = number_at<std::uint16_t>(bytes, 8);
    if (bytes.size() < 10 + length) return Status::bad_format("truncated");
    std::string_view head = text.substr(10, length);
    const auto refused = [] {
        return Status::bad_format("the header is not as NumPy writes it, or has another dtype");
    };
    NpyArray array;
    if (split_before(head, "{'descr': '") != "") return refused();
    const auto dtype = dtype_named(split_before(head, "', 'fortran_order': ").value_or(""));
    const auto is_fortran_order = split_before(head, ", 'shape': (");
    const auto shape = split_before(head, "), }");
    if (!dtype || !shape || (is_fortran_order != "True" && is_fortran_order != "False")) return refused();
    if (!read_shape(*shape, array.shape) || head.find_first_not_of(" \n") != std::string_view::npos) return refused();
    if (is_fortran_order == "True" && array.shape.size() > 1)
        return Status::bad_format("array is in Fortran order, expected C order");
    array.dtype = *dtype;
    std::size_t declared = size_of(array.dtype);
    for (const std::size_t size : array.shape) {
        if (__builtin_mul_overflow(declared, size, &declared)) return Status::bad_format("the shape is too large");
    }
    array.bytes = bytes.subspan(10 + length);
    if (array.bytes.size() == declared) return array;
    return Status::bad_format("the header declares " + std::to_string(declared) + " bytes, the file has " +
                              std::to_string(array.bytes.size()));
}

// Layout: PKWARE, .ZIP File Format Specification (APPNOTE.TXT) 6.3, sections 4.3.7, 4.3.12 and 4.3.16.
Result<NpyArrays> read_npz(std::span<const std::byte> bytes) {
    constexpr std::size_t kEnd = 22;     // bytes of the record that ends an archive
    constexpr std::size_t kMember = 46;  // of a member's entry in the directory, without its name
    constexpr std::size_t kLocal = 30;   // of the head before a member's bytes, without name and extra field
    const auto refused = [](const std::string& reason) {
        return Status::bad_format("not an archive of arrays: " + reason);
    };
    if (bytes.size() < kEnd) return refused("too short");
    const std::size_t end = bytes.size() - kEnd;
    if (number_at<std::uint32_t>(bytes, end) != 0x06054b50) return refused("truncated");
    const std::size_t n = number_at<std::uint16_t>(bytes, end + 10);
    std::size_t at = number_at<std::uint32_t>(bytes, end + 16);
    if (n > kMaxMembers) return refused("more than " + std::to_string(kMaxMembers) + " members");
    NpyArrays arrays;
    for (std::size_t i = 0; i < n; ++i) {
        if (at > end || end - at < kMember || number_at<std::uint32_t>(bytes, at) != 0x02014b50) {
            return refused("the directory is damaged");
        }
        const std::size_t name_length = number_at<std::uint16_t>(bytes, at + 28);
        const std::size_t rest =
            std::size_t{number_at<std::uint16_t>(bytes, at + 30)} + number_at<std::uint16_t>(bytes, at + 32);
        const std::size_t size = number_at<std::uint32_t>(bytes, at + 24);
        const std::size_t local = number_at<std::uint32_t>(bytes, at + 42);
        if (end - at - kMember < name_length + rest) return refused("the directory is damaged");
        std::string name(reinterpret_cast<const char*>(bytes.data()) + at + kMember, name_length);
        const bool is_stored = number_at<std::uint16_t>(bytes, at + 10) == 0 &&
                               number_at<std::uint32_t>(bytes, at + 20) == size &&
                               (number_at<std::uint16_t>(bytes, at + 8) & 1) == 0;
        if (!is_stored || !name.ends_with(".npy"))
            return refused("member '" + name + "' is compressed, or not a .npy file");
        at += kMember + name_length + rest;
        if (local > end || end - local < kLocal || number_at<std::uint32_t>(bytes, local) != 0x04034b50) {
            return refused("member '" + name + "' is damaged");
        }
        const std::size_t data =
            local + kLocal + number_at<std::uint16_t>(bytes, local + 26) + number_at<std::uint16_t>(bytes, local + 28);
        if (data > end || end - data < size) return refused("member '" + name + "' is truncated");
        auto array = read_npy(bytes.subspan(data, size));
        if (!array.ok()) return Status::bad_format("member '" + name + "': " + array.status().message());
        name.resize(name.size() - 4);
        if (find_array(arrays, name) != nullptr) {
            return refused("member '" + name + "' appears twice");
        }
        arrays.emplace_back(std::move(name), std::move(array.value()));
    }
    return arrays;
}

const NpyArray* find_array(const NpyArrays& arrays, std::string_view name) noexcept {
    const auto found = std::ranges::find(arrays, name, [](const auto& entry) { return std::string_view(entry.first); });
    return found == arrays.end() ? nullptr : &found->second;
}

Result<Json> read_head(const NpyArrays& arrays) {
    const NpyArray* head = find_array(arrays, "head");
    if (head == nullptr) return Status::bad_format("the table 'head' is missing");
    auto json = Json::parse(head->bytes);
    if (!json.ok()) return Status::bad_format("head: " + json.status().message());
    return json;
}

}  // namespace karec
