// Reads the contents of an id file. Checks the fields and the sizes of the sections; with `verify`, also that order,
// directory, places and numbers match the text.
#include <string>

#include "ids/id_file.hpp"
#include "ids/id_text.hpp"

namespace karec::ids {
namespace {

Status damaged(const std::string& reason) {
    return damaged_file(kIdFile, reason);
}

Status check_fields(const FileFields& fields, std::uint64_t text_bytes) {
    const auto [n, kind, seed, unused] = fields;
    const bool is_kind =
        kind >= static_cast<std::uint64_t>(IdKind::numbers) && kind <= static_cast<std::uint64_t>(IdKind::uint64);
    const bool has_own_numbers = kind == static_cast<std::uint64_t>(IdKind::numbers);
    if (is_kind && !(has_own_numbers && n > 0) && n <= kMaxStrings && text_bytes <= n * kMaxIdBytes && unused == 0) {
        return {};
    }
    return damaged("its header declares " + std::to_string(n) + " strings of kind " + std::to_string(kind) + ", " +
                   std::to_string(text_bytes) + " bytes");
}

// Returns whether the directory has the position of the first number of each bucket.
bool directory_fits(const Contents& contents) noexcept {
    std::size_t n_below = 0;
    for (std::size_t bucket = 0; bucket < contents.directory.size(); ++bucket) {
        while (n_below < contents.numbers.size() && bucket_of(contents.numbers[n_below], contents.bits) < bucket) {
            ++n_below;
        }
        if (contents.directory[bucket] != n_below) return false;
    }
    return n_below == contents.numbers.size();
}

// Checks that every string begins where the one before it ends, and is an id that has its number.
Status check_strings(const Contents& contents) {
    std::uint64_t end = 0;
    for (std::size_t i = 0; i < contents.numbers.size(); ++i) {
        const std::string_view text = string_at(contents, i);
        const std::uint64_t begin = static_cast<std::uint64_t>(text.data() - contents.text.data());
        if (text.empty() || begin != end) return damaged("its strings do not follow each other");
        if (!is_utf8(text)) return damaged("string " + std::to_string(i) + " is not UTF-8");
        if (contents.numbers[i] != hash_string(text, contents.seed)) {
            return damaged("the number of string " + std::to_string(i) + " is not its own");
        }
        if (i > 0 && contents.numbers[i - 1] >= contents.numbers[i]) return damaged("its numbers do not rise");
        end = begin + text.size();
    }
    if (end != contents.text.size()) return damaged("its text has more bytes than its strings");
    const std::size_t n_used = contents.numbers.size() % Place::kStrings;
    for (std::size_t slot = n_used; n_used != 0 && slot < Place::kStrings; ++slot) {
        if (contents.places.back().last[slot] != 0) return damaged("it has places without a string");
    }
    return {};
}

}  // namespace

Result<Contents> read_contents(std::span<const std::byte> file, bool verify) {
    const auto read = read_section_file(file, kIdFile, verify);
    if (!read.ok()) return read.status();
    if (read->sections.size() != kSections)
        return damaged("it has " + std::to_string(read->sections.size()) + " sections");
    if (Status status = check_fields(read->fields, read->sections[3].bytes.size()); !status.ok()) return status;
    Contents contents;
    const std::uint64_t n = read->fields[0];
    contents.kind = static_cast<IdKind>(read->fields[1]);
    contents.seed = read->fields[2];
    contents.bits = directory_bits(n);
    const std::uint64_t sizes[kSections] = {
        ((std::uint64_t{1} << contents.bits) + 1) * sizeof(std::uint32_t), n * sizeof(std::int64_t),
        (n + Place::kStrings - 1) / Place::kStrings * sizeof(Place), read->sections[3].bytes.size()};
    for (std::size_t s = 0; s < kSections; ++s) {
        const FileSection& section = read->sections[s];
        if (section.kind == s + 1 && section.dtype == 0 && section.name.empty() && section.bytes.size() == sizes[s]) {
            continue;
        }
        return damaged("its section " + std::to_string(s + 1) + " has another kind or size");
    }
    contents.directory = to_elements<std::uint32_t>(read->sections[0].bytes);
    contents.numbers = to_elements<std::int64_t>(read->sections[1].bytes);
    contents.places = to_elements<Place>(read->sections[2].bytes);
    contents.text = to_elements<char>(read->sections[3].bytes);
    if (!verify) return contents;
    if (!directory_fits(contents)) return damaged("its directory does not fit its numbers");
    if (Status status = check_strings(contents); !status.ok()) return status;
    return contents;
}

}  // namespace karec::ids
