// Id file → contents. Checks the header, sizes and gaps; then, to verify, each section's checksum, and that order,
// directory, places and numbers say what the text says.
#include <cstring>
#include <string>

#include "ids/id_text.hpp"
#include "ids/table.hpp"
#include "karec/string_ids.hpp"

namespace karec::ids {
namespace {

Status damaged(const std::string& what) {
    return Status::bad_format("not a whole karec id file: " + what);
}

Status check_header(std::span<const std::byte> file, Header& header) {
    if (file.size() < sizeof header) {
        return damaged("it has " + std::to_string(file.size()) + " bytes, the header alone has " +
                       std::to_string(sizeof header));
    }
    std::memcpy(&header, file.data(), sizeof header);
    if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) return damaged("it does not begin with 'karecids'");
    if (header.byte_order != kByteOrder) return damaged("its byte order is foreign");
    if (header.version != kVersion) {
        return Status::bad_format("the id file has version " + std::to_string(header.version) +
                                  ", this karec reads version " + std::to_string(kVersion));
    }
    if (header.file_bytes != file.size()) {
        return damaged("it has " + std::to_string(file.size()) + " bytes, its header says " +
                       std::to_string(header.file_bytes));
    }
    if (checksum_of(header) != header.checksum) return damaged("its header is altered");
    const bool no_kind = header.kind < static_cast<std::uint32_t>(IdKind::numbers) ||
                         header.kind > static_cast<std::uint32_t>(IdKind::uint64);
    const bool holds_none = header.kind == static_cast<std::uint32_t>(IdKind::numbers) && header.n > 0;
    if (no_kind || holds_none || header.n > kMostStrings || header.text_bytes > header.n * kMostIdBytes ||
        header.bits != bits_for(header.n)) {
        return damaged("its header says " + std::to_string(header.n) + " strings of kind " +
                       std::to_string(header.kind) + ", " + std::to_string(header.text_bytes) + " bytes, " +
                       std::to_string(header.bits) + " bits");
    }
    for (const std::uint64_t word : header.reserved) {
        if (word != 0) return damaged("its header holds unknown fields");
    }
    return {};
}

Status check_layout(std::span<const std::byte> file, const Header& header, bool verify) {
    const auto extents = extents_of(header);
    if (extents.back().begin + extents.back().bytes != file.size()) return damaged("its sections do not fit its size");
    std::uint64_t end = sizeof header;
    for (std::size_t s = 0; s < kSections; ++s) {
        for (; end < extents[s].begin; ++end) {
            if (file[end] != std::byte{0}) return damaged("the gap at byte " + std::to_string(end) + " is altered");
        }
        if (verify && xxh64(file.subspan(extents[s].begin, extents[s].bytes)) != header.sums[s]) {
            return damaged("the section at byte " + std::to_string(extents[s].begin) + " is altered");
        }
        end = extents[s].begin + extents[s].bytes;
    }
    return {};
}

// The directory says of each bucket how many numbers are less.
bool directory_fits(const Contents& contents) noexcept {
    std::size_t below = 0;
    for (std::size_t bucket = 0; bucket < contents.directory.size(); ++bucket) {
        const auto before = [&](std::int64_t number) {
            return bucket_of(static_cast<std::uint64_t>(number), contents.header.bits) < bucket;
        };
        while (below < contents.numbers.size() && before(contents.numbers[below])) ++below;
        if (contents.directory[bucket] != below) return false;
    }
    return below == contents.numbers.size();
}

// Every string begins where the one before it ends, and is an id whose number stands at its place.
Status check_strings(const Contents& contents) {
    std::uint64_t end = 0;
    for (std::size_t i = 0; i < contents.numbers.size(); ++i) {
        const std::string_view text = text_at(contents, i);
        const std::uint64_t begin = static_cast<std::uint64_t>(text.data() - contents.text.data());
        if (text.empty() || begin != end) return damaged("its strings do not follow each other");
        if (!is_utf8(text)) return damaged("string " + std::to_string(i) + " is no UTF-8");
        if (contents.numbers[i] != number_of(text, contents.header.seed)) {
            return damaged("the number of string " + std::to_string(i) + " is not its own");
        }
        if (i > 0 && contents.numbers[i - 1] >= contents.numbers[i]) return damaged("its numbers do not rise");
        end = begin + text.size();
    }
    if (end != contents.text.size()) return damaged("its text has more bytes than its strings");
    const std::size_t used = contents.numbers.size() % Place::kStrings;
    for (std::size_t slot = used; used != 0 && slot < Place::kStrings; ++slot) {
        if (contents.places.back().last[slot] != 0) return damaged("it has places without a string");
    }
    return {};
}

template <class T>
std::span<const T> elements(std::span<const std::byte> file, Extent extent) noexcept {
    return {reinterpret_cast<const T*>(file.data() + extent.begin), extent.bytes / sizeof(T)};
}

}  // namespace

Result<Contents> read_contents(std::span<const std::byte> file, bool verify) {
    Contents contents;
    if (Status status = check_header(file, contents.header); !status.ok()) return status;
    if (Status status = check_layout(file, contents.header, verify); !status.ok()) return status;
    const auto extents = extents_of(contents.header);
    contents.directory = elements<std::uint32_t>(file, extents[0]);
    contents.numbers = elements<std::int64_t>(file, extents[1]);
    contents.places = elements<Place>(file, extents[2]);
    contents.text = elements<char>(file, extents[3]);
    if (!verify) return contents;
    if (!directory_fits(contents)) return damaged("its directory does not fit its numbers");
    if (Status status = check_strings(contents); !status.ok()) return status;
    return contents;
}

}  // namespace karec::ids
