#include "ids/id_file.hpp"

#include <algorithm>
#include <span>
#include <utility>

#include "ids/id_text.hpp"

namespace karec::ids {
namespace {

struct Entry {
    std::int64_t number;
    std::uint32_t position;  // of the string in the input

    auto operator<=>(const Entry&) const = default;
};

// directory[b] = the number of entries in the buckets before b.
std::vector<std::uint32_t> count_buckets(const std::vector<std::int64_t>& numbers) {
    const std::uint32_t bits = directory_bits(numbers.size());
    std::vector<std::uint32_t> directory((std::size_t{1} << bits) + 1);
    for (const std::int64_t number : numbers) ++directory[bucket_of(number, bits) + 1];
    for (std::size_t b = 1; b < directory.size(); ++b) directory[b] += directory[b - 1];
    return directory;
}

// Ascending by number; strings of one number by their position in the input.
std::vector<Entry> sorted_entries(const CheckedText& strings, std::uint64_t seed) {
    std::vector<std::int64_t> numbers(strings.size());
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = hash_string(strings.string(i), seed);
    const std::uint32_t bits = directory_bits(numbers.size());
    std::vector<std::uint32_t> starts = count_buckets(numbers);
    std::vector<Entry> entries(numbers.size());
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        entries[starts[bucket_of(numbers[i], bits)]++] = {numbers[i], static_cast<std::uint32_t>(i)};
    }
    // Each start has moved to the end of its bucket.
    std::uint32_t first = 0;
    for (std::size_t b = 0; b + 1 < starts.size(); first = starts[b++]) {
        std::sort(entries.begin() + first, entries.begin() + starts[b]);
    }
    return entries;
}

}  // namespace

Result<CheckedText> check_text(const Strings& strings) {
    CheckedText checked;
    if (strings.size() > kMaxStrings) {
        return Status::invalid("an id file has at most 2^32 − 1 strings, got " + std::to_string(strings.size()));
    }
    checked.ends.reserve(strings.size());
    checked.text.reserve(strings.text.size());
    for (std::size_t i = 0; i < strings.size(); ++i) {
        std::span<const char> text;
        if (Status status = read_id(strings, i, text); !status.ok()) return status;
        checked.text.insert(checked.text.end(), text.begin(), text.end());
        checked.ends.push_back(checked.text.size());
    }
    return checked;
}

Result<Sections> build_sections(const CheckedText& strings, std::uint64_t seed) {
    const std::vector<Entry> entries = sorted_entries(strings, seed);
    Sections sections;
    sections.numbers.reserve(entries.size());
    sections.text.reserve(strings.text.size());
    std::string_view last;
    for (const Entry& entry : entries) {
        const std::string_view text = strings.string(entry.position);
        if (!sections.numbers.empty() && sections.numbers.back() == entry.number) {
            if (text == last) continue;
            return Status::invalid("'" + shorten(last) + "' and '" + shorten(text) +
                                   "' have the same number under seed " + std::to_string(seed));
        }
        const std::size_t slot = sections.numbers.size() % Place::kStrings;
        if (slot == 0) sections.places.push_back({sections.text.size(), {}});
        sections.places.back().last[slot] = static_cast<std::uint8_t>(text.size() - 1);
        sections.text.insert(sections.text.end(), text.begin(), text.end());
        sections.numbers.push_back(entry.number);
        last = text;
    }
    sections.directory = count_buckets(sections.numbers);
    return sections;
}

Status write_sections(const std::string& path, const Sections& sections, IdKind kind, std::uint64_t seed) {
    const NewSection parts[kSections] = {{1, 0, {std::as_bytes(std::span(sections.directory))}},
                                         {2, 0, {std::as_bytes(std::span(sections.numbers))}},
                                         {3, 0, {std::as_bytes(std::span(sections.places))}},
                                         {4, 0, {std::as_bytes(std::span(sections.text))}}};
    return write_section_file(path, kIdFile, {sections.numbers.size(), static_cast<std::uint64_t>(kind), seed, 0},
                              parts);
}

}  // namespace karec::ids
