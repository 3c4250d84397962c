// Ids that are strings: both directions, collisions, refused input, and altered files.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/xxh64.hpp"
#include "check.hpp"
#include "id_files.hpp"
#include "ids/id_file.hpp"
#include "ids/id_text.hpp"
#include "karec/string_ids.hpp"

using namespace karec;
using namespace karec::id_files;

namespace {

std::vector<std::int64_t> numbers_of(const StringIds& ids, const std::vector<std::string>& names) {
    std::vector<std::int64_t> out(names.size());
    CHECK(ids.numbers(Flat(names).strings(), out).ok());
    return out;
}

// std::vector<bool> has no span.
std::vector<char> known_of(const StringIds& ids, const std::vector<std::string>& names) {
    const auto out = std::make_unique<bool[]>(names.size());
    CHECK(ids.known(Flat(names).strings(), {out.get(), names.size()}).ok());
    return {out.get(), out.get() + names.size()};
}

}  // namespace

TEST(xxh64_with_a_seed_gives_the_published_sums) {
    const auto sum = [](std::string_view text, std::uint64_t seed) {
        return xxh64(std::as_bytes(std::span(text.data(), text.size())), seed);
    };
    CHECK(sum("", 1) == 0xD5AFBA1336A3BE4Bu);
    CHECK(sum("I want an unsigned 64-bit seed!", 0) == 0xD4CB0A70A2B8C7C1u);
    CHECK(sum("I want an unsigned 64-bit seed!", 1) == 0xCE5087F12470D961u);
}

TEST(names_returns_every_string_unchanged) {
    for (const std::size_t n : {0u, 1u, 2u, 23u, 24u, 25u, 999u, 20'000u}) {
        const std::vector<std::string> names = some_names(n);
        const StringIds ids = built(names);
        CHECK(ids.size() == n && ids.seed() == 0 && ids.kind() == IdKind::strings);
        const auto numbers = numbers_of(ids, names);
        std::vector<std::string_view> back(n);
        CHECK(ids.names(numbers, back).ok());
        CHECK(std::equal(names.begin(), names.end(), back.begin()));
        CHECK(std::ranges::all_of(numbers, [](std::int64_t number) { return number >= 0; }));
        CHECK(std::ranges::all_of(known_of(ids, names), [](char known) { return known != 0; }));
    }
}

TEST(string_ids_report_missing_strings_as_unknown) {
    const StringIds ids = built(some_names(1000));
    const std::vector<std::string> strangers = {"nobody", "no-1", "\xe4\xba\xba"};
    CHECK(known_of(ids, strangers) == std::vector<char>(3, 0));
    auto numbers = numbers_of(ids, strangers);
    numbers.insert(numbers.end(), {-1, 0, INT64_MIN, INT64_MAX});
    std::vector<std::string_view> back(numbers.size(), "x");
    CHECK(ids.names(numbers, back).ok());
    CHECK(std::ranges::all_of(back, &std::string_view::empty));
}

TEST(id_file_is_equal_for_repeated_and_reordered_strings) {
    const std::vector<std::string> each = some_names(500);
    const Bytes once = file_of(each);
    std::vector<std::string> names = each;
    names.insert(names.end(), each.begin(), each.begin() + 100);
    std::ranges::reverse(names);
    CHECK(file_of(names) == once);
}

TEST(build_uses_another_seed_if_two_strings_have_one_number) {
    for (const std::uint64_t seed : {0u, 1u, 7u}) {
        const auto [one, other] = two_of_one_number(seed);
        CHECK(one != other && ids::hash_string(one, seed) == ids::hash_string(other, seed));
        CHECK(ids::is_utf8(one) && ids::is_utf8(other));
    }
    const auto [one, other] = two_of_one_number(0);
    const std::vector<std::string> names = {"a", one, "b", other, one};
    const StringIds ids = built(names);
    CHECK(ids.seed() != 0 && ids.size() == 4);
    CHECK(numbers_of(ids, {one}) != numbers_of(ids, {other}));
    const Status status = ids::build_sections(ids::check_text(Flat(names).strings()).value(), 0).status();
    CHECK(status.code() == Code::invalid_argument);
    CHECK(status.message().find("have the same number under seed 0") != std::string::npos);
}

TEST(known_is_false_for_another_string_of_the_same_number) {
    const auto [one, other] = two_of_one_number(0);
    const StringIds ids = built({one, "a"});
    CHECK(ids.seed() == 0 && numbers_of(ids, {one}) == numbers_of(ids, {other}));
    CHECK((known_of(ids, {one, other}) == std::vector<char>{1, 0}));
}

TEST(string_ids_refuse_invalid_ids_by_position) {
    const std::map<std::string, std::string> refused = {
        {"", "ids hold an empty string at position 1"},
        {std::string(257, 'x'), "ids hold a string of 257 bytes at position 1, 'xxxxxxxxxxxxxxxxxxxxxxxx…'"},
        {"ab\xff", R"(ids hold bytes that are not UTF-8 at position 1: 'ab\xff')"},
        {"\xed\xa0\x80", R"(ids hold bytes that are not UTF-8 at position 1: '\xed\xa0\x80')"},
        {"\xc0\x80", "ids hold bytes that are not UTF-8"},
        {"\xf4\x90\x80\x80", "ids hold bytes that are not UTF-8"},
        {"12345678\xe4\xba", "ids hold bytes that are not UTF-8"},
    };
    const StringIds ids = built({"a"});
    for (const auto& [name, message] : refused) {
        const Flat flat({"a", name});
        std::vector<std::int64_t> out(2);
        bool known[2];
        for (const Status& status : {StringIds::build(flat.strings(), "unused.karec"), ids.numbers(flat.strings(), out),
                                     ids.known(flat.strings(), known)}) {
            CHECK(status.code() == Code::invalid_argument && status.message().starts_with(message));
        }
    }
    CHECK(built({std::string(256, 'x'), std::string("a\0b", 3)}).size() == 2);
}

TEST(string_ids_refuse_offsets_outside_the_text) {
    const std::string text = "abcdef";
    const StringIds ids = built({"a"});
    for (const std::vector<std::int64_t>& offsets :
         {std::vector<std::int64_t>{-1, 2}, {0, 7}, {3, 2}, {0, 2, 1}, {INT64_MIN, INT64_MAX}, {0, INT64_MAX}}) {
        const Strings strings{offsets, text};
        std::vector<std::int64_t> out(strings.size());
        CHECK(ids.numbers(strings, out).code() == Code::invalid_argument);
        CHECK(StringIds::build(strings, "unused.karec").code() == Code::invalid_argument);
    }
}

TEST(integers_that_are_their_own_numbers_have_a_file_without_strings) {
    CHECK(StringIds::build({}, "integers.karec", IdKind::numbers).ok());
    const auto ids = StringIds::open("integers.karec");
    CHECK(ids.ok() && ids->size() == 0 && ids->kind() == IdKind::numbers);
    CHECK(StringIds::build(Flat({"a"}).strings(), "unused.karec", IdKind::numbers).code() == Code::invalid_argument);
    std::remove("integers.karec");
}

TEST(truncated_file_or_file_with_a_changed_bit_is_refused) {
    const Bytes whole = file_of(some_names(60));
    CHECK(opens(whole, true));
    for (std::size_t length = 0; length < whole.size(); ++length) {
        CHECK(!opens(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)), false));
    }
    Bytes bytes = whole;
    for (char& byte : bytes) {
        for (int bit = 0; bit < 8; ++bit) {
            byte = static_cast<char>(byte ^ (1 << bit));
            CHECK(!opens(bytes, true));
            byte = static_cast<char>(byte ^ (1 << bit));
        }
    }
}

TEST(file_with_wrong_contents_is_refused_if_checksums_match) {
    const Bytes whole = file_of(some_names(60));
    Bytes sealed = whole;
    seal(sealed);
    CHECK(sealed == whole);
    // Each byte of the contents changed alone: in the padding of the last place too.
    for (std::size_t at = entry(ids::kSections); at < whole.size(); ++at) {
        Bytes bytes = whole;
        bytes[at] = static_cast<char>(bytes[at] ^ 1);
        seal(bytes);
        CHECK(!opens(bytes, true));
    }
    // N, kind, seed, the unused field, the number of sections; kind, dtype, offset, size and name of one.
    for (const std::size_t field : {kFields, kFields + 8, kFields + 16, kFields + 24, kNSections, entry(1),
                                    entry(1) + 4, entry(1) + 8, entry(1) + 16, entry(1) + 32}) {
        for (const int change : {1, -1, 100}) {
            Bytes bytes = whole;
            bytes[field] = static_cast<char>(bytes[field] + change);
            seal(bytes);
            CHECK(!opens(bytes, true) || field == kFields + 8);  // digits and strings are checked alike
        }
    }
}

TEST(io_errors_have_the_errno) {
    const auto absent = StringIds::open("no/such/file");
    CHECK(absent.status().code() == Code::io_error && absent.status().system_error() == 2);
    CHECK(StringIds::build({}, "no/such/file").code() == Code::io_error);
}
