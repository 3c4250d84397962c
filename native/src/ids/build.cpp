#include "ids/build.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/atomic_file.hpp"
#include "ids/id_text.hpp"

namespace karec::ids {
namespace {

struct Entry {
    std::int64_t number;
    std::uint32_t piece;
};

std::string_view text_of(const CheckedText& given, const Entry& entry) noexcept {
    const CheckedText::Piece piece = given.pieces[entry.piece];
    return {given.text.data() + piece.begin, piece.bytes};
}

std::vector<std::int64_t> numbers_of(const CheckedText& given, std::uint64_t seed) {
    std::vector<std::int64_t> numbers;
    numbers.reserve(given.pieces.size());
    for (const CheckedText::Piece piece : given.pieces) {
        numbers.push_back(number_of(std::span(given.text).subspan(piece.begin, piece.bytes), seed));
    }
    return numbers;
}

// Entries by number; those of one number by their place in the input.
std::vector<Entry> sorted(const std::vector<std::int64_t>& numbers) {
    const std::uint32_t bits = bits_for(numbers.size());
    std::vector<std::uint32_t> starts((std::size_t{1} << bits) + 1);
    const auto bucket = [bits](std::int64_t number) { return bucket_of(static_cast<std::uint64_t>(number), bits); };
    for (const std::int64_t number : numbers) ++starts[bucket(number) + 1];
    for (std::size_t b = 1; b < starts.size(); ++b) starts[b] += starts[b - 1];
    std::vector<Entry> entries(numbers.size());
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        entries[starts[bucket(numbers[i])]++] = {numbers[i], static_cast<std::uint32_t>(i)};
    }
    const auto before = [](const Entry& a, const Entry& b) {
        return a.number != b.number ? a.number < b.number : a.piece < b.piece;
    };
    // Each start has moved to its bucket's end.
    std::size_t first = 0;
    for (std::size_t b = 0; b + 1 < starts.size(); ++b) {
        std::sort(entries.begin() + static_cast<std::ptrdiff_t>(first), entries.begin() + starts[b], before);
        first = starts[b];
    }
    return entries;
}

std::vector<std::uint32_t> directory_of(const std::vector<std::int64_t>& numbers) {
    const std::uint32_t bits = bits_for(numbers.size());
    std::vector<std::uint32_t> directory((std::size_t{1} << bits) + 1);
    for (const std::int64_t number : numbers) ++directory[bucket_of(static_cast<std::uint64_t>(number), bits) + 1];
    for (std::size_t b = 1; b < directory.size(); ++b) directory[b] += directory[b - 1];
    return directory;
}

}  // namespace

Result<CheckedText> check_text(const Strings& strings) {
    CheckedText checked;
    if (strings.size() > kMostStrings) {
        return Status::invalid("an id file holds at most 2^32 − 1 strings, got " + std::to_string(strings.size()));
    }
    checked.pieces.reserve(strings.size());
    checked.text.reserve(strings.text.size());
    for (std::size_t i = 0; i < strings.size(); ++i) {
        std::span<const char> text;
        if (Status status = read_id(strings, i, text); !status.ok()) return status;
        const std::size_t begin = checked.text.size();
        checked.text.insert(checked.text.end(), text.begin(), text.end());
        checked.pieces.push_back({begin, static_cast<std::uint32_t>(text.size())});
    }
    return checked;
}

Result<Sections> build_sections(const CheckedText& given, std::uint64_t seed) {
    const std::vector<Entry> entries = sorted(numbers_of(given, seed));
    Sections sections;
    sections.numbers.reserve(entries.size());
    sections.text.reserve(given.text.size());
    std::string_view last;
    for (const Entry& entry : entries) {
        const std::string_view text = text_of(given, entry);
        if (!sections.numbers.empty() && sections.numbers.back() == entry.number) {
            if (text == last) continue;
            return Status::invalid("'" + start_of(last) + "' and '" + start_of(text) + "' have one number under seed " +
                                   std::to_string(seed));
        }
        const std::size_t slot = sections.numbers.size() % Place::kStrings;
        if (slot == 0) sections.places.push_back({sections.text.size(), {}});
        sections.places.back().last[slot] = static_cast<std::uint8_t>(text.size() - 1);
        sections.text.insert(sections.text.end(), text.begin(), text.end());
        sections.numbers.push_back(entry.number);
        last = text;
    }
    sections.directory = directory_of(sections.numbers);
    return sections;
}

Status write_sections(const std::string& path, const Sections& sections, IdKind kind, std::uint64_t seed) {
    const std::span<const std::byte> parts[kSections] = {
        std::as_bytes(std::span(sections.directory)), std::as_bytes(std::span(sections.numbers)),
        std::as_bytes(std::span(sections.places)), std::as_bytes(std::span(sections.text))};
    Header header{};
    std::memcpy(header.magic, kMagic, sizeof kMagic);
    header.version = kVersion;
    header.byte_order = kByteOrder;
    header.n = sections.numbers.size();
    header.kind = static_cast<std::uint32_t>(kind);
    header.bits = bits_for(header.n);
    header.seed = seed;
    header.text_bytes = sections.text.size();
    const auto extents = extents_of(header);
    header.file_bytes = extents.back().begin + extents.back().bytes;
    for (std::size_t s = 0; s < kSections; ++s) header.sums[s] = xxh64(parts[s]);
    header.checksum = checksum_of(header);

    const auto refused = [&path] {
        const int error = errno;
        const std::string why = error == EEXIST ? "it is not a regular file, so it is not replaced; move it away"
                                                : std::system_category().message(error);
        return Status{Code::io_error, "cannot write '" + path + "': " + why, error};
    };
    AtomicFile file(path);
    if (!file.opened() || !file.append(std::as_bytes(std::span(&header, 1)))) return refused();
    std::uint64_t end = sizeof header;
    for (std::size_t s = 0; s < kSections; ++s) {
        const std::byte zeros[kAlign] = {};
        if (!file.append({zeros, extents[s].begin - end}) || !file.append(parts[s])) return refused();
        end = extents[s].begin + extents[s].bytes;
    }
    return file.publish() ? Status{} : refused();
}

}  // namespace karec::ids
