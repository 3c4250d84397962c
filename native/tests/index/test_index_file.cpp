// The index file: round trip, every truncation, every changed byte, and files that are wrong with right checksums.
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/buffer.hpp"
#include "base/seal.hpp"
#include "check.hpp"
#include "index/file/index_file.hpp"
#include "karec/item_index.hpp"

using namespace karec;

namespace {

using Bytes = std::vector<char>;
using Ids = std::vector<std::int64_t>;

Bytes saved(const ItemIndex& index) {
    const char* path = "test_index_file.karec";
    CHECK(index.pinned().save(path).ok() && ItemIndex::open(path).ok());
    std::ifstream file(path, std::ios::binary);
    Bytes bytes{std::istreambuf_iterator<char>(file), {}};
    std::remove(path);
    return bytes;
}

Bytes saved_index(std::size_t n_lists = 0) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::vector<std::int64_t> ids(17);
    std::vector<float> vectors(ids.size() * 5);
    std::vector<double> prices(ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int64_t>(i * i) - 3;
    for (float& x : vectors) x = normal(random);
    const Column column{"price", DType::float64, std::as_bytes(std::span(prices))};
    ItemIndex::BuildOptions options;
    options.columns = {&column, 1};
    auto index = ItemIndex::build(ids, {vectors.data(), ids.size(), 5, DType::float32}, options);
    CHECK(index.ok());
    if (n_lists > 0) CHECK(index->build_lists({n_lists, 0}).ok());
    return saved(index.value());
}

// read_index on a copy of exactly that size, so that a sanitizer sees any read beyond it.
Result<IndexContents> read(const Bytes& bytes, Buffer& memory) {
    memory = Buffer(bytes.size());
    if (!bytes.empty()) std::memcpy(memory.as<char>().data(), bytes.data(), bytes.size());
    return read_index(memory.as<const std::byte>().first(bytes.size()));
}

bool refused(const Bytes& bytes) {
    Buffer memory;
    const auto contents = read(bytes, memory);
    return !contents.ok() && contents.status().code() == Code::bad_format;
}

}  // namespace

TEST(truncated_file_is_refused) {
    const Bytes whole = saved_index(3);
    Buffer memory;
    CHECK(read(whole, memory).ok());
    for (std::size_t length = 0; length < whole.size(); ++length) {
        CHECK(refused(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length))));
    }
}

TEST(file_with_a_changed_bit_is_refused) {
    Bytes bytes = saved_index(3);
    for (char& byte : bytes) {
        for (int bit = 0; bit < 8; ++bit) {
            byte = static_cast<char>(byte ^ (1 << bit));
            CHECK(refused(bytes));
            byte = static_cast<char>(byte ^ (1 << bit));
        }
    }
}

TEST(file_with_wrong_contents_is_refused_if_checksums_match) {
    const std::vector<std::function<void(Bytes&)>> changes = {
        [](Bytes& b) { at<std::uint64_t>(b, kNRows) += 1; },
        [](Bytes& b) { at<std::uint64_t>(b, kNRows) = ~std::uint64_t{0}; },
        [](Bytes& b) { at<std::uint32_t>(b, kDim) = 0; },
        [](Bytes& b) { at<std::uint32_t>(b, kDim) = 100'000; },
        [](Bytes& b) { at<std::uint32_t>(b, kDim) = 40; },
        [](Bytes& b) { at<std::uint32_t>(b, kDim + 4) = 3; },
        [](Bytes& b) { at<std::uint64_t>(b, kNSections) = 3; },
        [](Bytes& b) { at<std::uint64_t>(b, kNSections) = 2; },
        [](Bytes& b) { at<std::uint64_t>(b, entry(1) + 8) += 64; },
        [](Bytes& b) { at<std::uint64_t>(b, entry(1) + 16) = ~std::uint64_t{0} - 63; },
        [](Bytes& b) { at<std::uint32_t>(b, entry(0)) = 2; },
        [](Bytes& b) { at<std::uint32_t>(b, entry(3) + 4) = 99; },
        [](Bytes& b) { at<char>(b, entry(3) + 32) = 0; },
        [](Bytes& b) { std::memset(&b[entry(3) + 32], 'x', 96); },
        [](Bytes& b) { at<std::uint64_t>(b, 72) = 1; },
        [](Bytes& b) { at<std::int64_t>(b, at<std::uint64_t>(b, entry(0) + 8)) = 77; },
        [](Bytes& b) { at<std::int64_t>(b, at<std::uint64_t>(b, entry(0) + 8)) = -2; },
        [](Bytes& b) { at<std::int32_t>(b, at<std::uint64_t>(b, entry(2) + 8) + 40) = 1 << 30; },
        [](Bytes& b) { at<std::uint16_t>(b, at<std::uint64_t>(b, entry(2) + 8) + 60) = 9; },
        [](Bytes& b) {
            b.resize(b.size() + 64);
            at<std::uint64_t>(b, kFileBytes) = b.size();
        },
    };
    for (const auto& change : changes) {
        Bytes bytes = saved_index();
        change(bytes);
        seal(bytes);
        CHECK(refused(bytes));
    }
    Bytes untouched = saved_index();
    seal(untouched);
    CHECK(untouched == saved_index());
}

TEST(index_file_with_lists_that_do_not_match_is_refused) {
    // Sections: ids, rows, id map, centroids of three lists, the lists' version and four ends, a column.
    const std::vector<std::function<void(Bytes&)>> changes = {
        [](Bytes& b) { at<std::int64_t>(b, at<std::uint64_t>(b, entry(4) + 8) + 8) = -1; },
        [](Bytes& b) { at<std::int64_t>(b, at<std::uint64_t>(b, entry(4) + 8) + 8) = 18; },
        [](Bytes& b) { at<std::int64_t>(b, at<std::uint64_t>(b, entry(4) + 8) + 32) = 18; },
        [](Bytes& b) { at<float>(b, at<std::uint64_t>(b, entry(3) + 8) + 4) = std::numeric_limits<float>::infinity(); },
        [](Bytes& b) { at<std::uint64_t>(b, entry(3) + 16) -= 64; },
        [](Bytes& b) { at<std::uint64_t>(b, entry(4) + 16) -= 8; },
        [](Bytes& b) { at<std::uint32_t>(b, entry(3)) = 9; },
        [](Bytes& b) { at<std::uint32_t>(b, entry(4)) = 13; },
    };
    for (const auto& change : changes) {
        Bytes bytes = saved_index(3);
        change(bytes);
        seal(bytes);
        CHECK(refused(bytes));
    }
    Bytes untouched = saved_index(3);
    at<std::int64_t>(untouched, at<std::uint64_t>(untouched, entry(4) + 8)) = 6;  // a version without rows
    seal(untouched);
    CHECK(!refused(untouched));
}

TEST(index_file_with_code_columns_that_do_not_match_is_refused) {
    const std::vector<float> vectors = {1, 2, 3};
    const std::vector<std::uint32_t> codes = {4, 5, 6};
    const Column columns[] = {{"tag", DType::uint32, std::as_bytes(std::span(codes))},
                              {"era", DType::uint32, std::as_bytes(std::span(codes))},
                              {"song", DType::uint32, std::as_bytes(std::span(codes))}};
    ItemIndex::BuildOptions options;
    options.code_columns = columns;
    const ItemIndex index = ItemIndex::build(Ids{1, 2, 3}, {vectors.data(), 3, 1, DType::float32}, options).value();
    const Bytes whole = saved(index);
    // Sections: ids, rows, id map, the names "tag", "era" and "song", four codes a row.
    const auto names = [](Bytes& b) { return static_cast<std::size_t>(at<std::uint64_t>(b, entry(3) + 8)); };
    const std::vector<std::function<void(Bytes&)>> changes = {
        [&](Bytes& b) { at<char>(b, names(b)) = 0; },
        [&](Bytes& b) { at<char>(b, names(b) + 3) = 'x'; },
        [&](Bytes& b) { at<char>(b, names(b) + 12) = 'x'; },
        [&](Bytes& b) { std::memcpy(&b[names(b) + 4], "tag", 3); },
        [](Bytes& b) { at<std::uint64_t>(b, entry(4) + 16) -= 4; },
        [](Bytes& b) { at<std::uint32_t>(b, entry(3)) = 13; },
        [](Bytes& b) { at<std::uint32_t>(b, entry(4)) = 16; },
    };
    for (const auto& change : changes) {
        Bytes bytes = whole;
        change(bytes);
        seal(bytes);
        CHECK(refused(bytes));
    }
    Bytes two_names = whole;
    at<char>(two_names, names(two_names) + 3) = 'x';  // "tagxera" and "song" have two codes a row
    at<std::uint64_t>(two_names, entry(4) + 16) -= 24;
    two_names.resize(two_names.size() - 24);
    at<std::uint64_t>(two_names, kFileBytes) = two_names.size();
    seal(two_names);
    CHECK(!refused(two_names));
}

TEST(index_file_with_a_number_that_is_not_finite_is_refused_by_section_and_row) {
    const std::vector<float> vectors = {1, 2, 3};
    const auto message = [&](DType dtype, std::uint32_t kind, std::size_t row_bytes, std::uint32_t bits) {
        ItemIndex::BuildOptions options;
        options.dtype = dtype;
        options.rescore = dtype == DType::int8;
        ItemIndex index = ItemIndex::build(Ids{1, 2, 3}, {vectors.data(), 3, 1, DType::float32}, options).value();
        CHECK(index.adjust(Ids{1}, std::vector<float>{2}, std::vector<float>{3}).ok());
        Bytes bytes = saved(index);
        std::size_t section = 0;
        while (at<std::uint32_t>(bytes, entry(section)) != kind) ++section;
        at<std::uint32_t>(bytes, at<std::uint64_t>(bytes, entry(section) + 8) + 2 * row_bytes) = bits;
        seal(bytes);
        Buffer memory;
        const auto contents = read(bytes, memory);
        CHECK(!contents.ok() && contents.status().code() == Code::bad_format);
        CHECK(read_index(memory.as<const std::byte>().first(bytes.size()), false).ok());
        return contents.status().message();
    };
    constexpr std::uint32_t kInfinity = 0x7F800000, kNaN = 0x7FC00000, kHalfNaN = 0x7E00;
    const std::string damaged = "damaged karec index file: section ";
    CHECK(message(DType::float32, kRows, 64, kInfinity) == damaged + "rows holds infinity at (2, 0)");
    CHECK(message(DType::float16, kRows, 64, kHalfNaN) == damaged + "rows holds NaN at (2, 0)");
    CHECK(message(DType::int8, kScales, 4, kNaN) == damaged + "scales holds NaN at (2, 0)");
    CHECK(message(DType::int8, kExactRows, 64, kInfinity) == damaged + "exact rows holds infinity at (2, 0)");
    CHECK(message(DType::float32, kAdjustments, 8, kNaN) == damaged + "adjustments holds NaN at (2, 0)");
}

TEST(file_with_a_row_of_an_unknown_model_version_is_refused) {
    const std::vector<std::int64_t> ids = {1, 2};
    const std::vector<float> vectors = {1, 2};
    ItemIndex index = ItemIndex::build(ids, {vectors.data(), 2, 1, DType::float32}, {}).value();
    CHECK(index.upsert(std::vector<std::int64_t>{3}, {vectors.data(), 1, 1, DType::float32}, {}, 5).ok());
    for (const char code : {'\0', '\1', '\2'}) {
        Bytes bytes = saved(index);
        std::size_t section = 0;
        while (at<std::uint32_t>(bytes, entry(section)) != 8) ++section;  // the code of each row's version
        at<char>(bytes, at<std::uint64_t>(bytes, entry(section) + 8)) = code;
        seal(bytes);
        CHECK(refused(bytes) == (code == 2));
    }
}

TEST(reads_of_a_mapped_file_stay_inside_if_version_codes_change) {
    const Ids ids = {1, 2, 3};
    const std::vector<float> vectors = {1, 2};
    ItemIndex index = ItemIndex::build(Ids{1, 2}, {vectors.data(), 2, 1, DType::float32}, {}).value();
    CHECK(index.upsert(Ids{3}, {vectors.data(), 1, 1, DType::float32}, {}, 5).ok());
    CHECK(index.calibrate(5, 2.0f, 1.0f).ok());
    Bytes bytes = saved(index);
    std::size_t section = 0;
    while (at<std::uint32_t>(bytes, entry(section)) != 8) ++section;
    const char* path = "test_index_file.karec";
    std::ofstream(path, std::ios::binary).write(bytes.data(), std::ssize(bytes));
    const ItemIndex opened = ItemIndex::open(path, {}).value();
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(at<std::uint64_t>(bytes, entry(section) + 8))).write("\xff\xff\xff", 3);
    file.close();
    std::remove(path);
    const std::vector<float> query = {1};
    const VersionQuery queries[] = {{0, query}, {5, query}};
    const Query by_version{std::span<const VersionQuery>(queries)};
    const IndexView view = opened.pinned();
    std::vector<float> scores(3);
    const auto count = view.scores(by_version, Candidates::of_ids(ids), scores);
    CHECK(count.ok() && count->unknown == 3);
    std::vector<std::int64_t> versions(3);
    CHECK(view.gather_model_versions(std::vector<std::int32_t>{0, 1, 2}, versions).ok());
    CHECK((versions == Ids{0, 0, 0}));
    const std::vector<Query> batch(4, by_version);  // enough for bounds
    std::vector<SearchCount> counts(4);
    std::vector<float> best(12);
    std::vector<std::int64_t> found(12);
    std::vector<std::int32_t> rows(12);
    std::vector<std::int64_t> positions(12);
    CHECK(view.search_all(batch, {}, {best, found, rows, positions}, counts).ok());
    CHECK(counts[0].found == 0);
}

TEST(randomly_damaged_file_is_refused_or_complete) {
    const Bytes whole = saved_index(3);
    std::mt19937 random(7);
    for (int round = 0; round < 20'000; ++round) {
        Bytes bytes = whole;
        for (std::uint32_t n = random() % 8 + 1; n > 0; --n) {
            // Mostly header and table, whose numbers the reader follows.
            const std::size_t limit = random() % 4 == 0 ? bytes.size() : entry(6);
            bytes[random() % limit] = static_cast<char>(random());
        }
        if (round % 2 == 0) seal(bytes);
        Buffer memory;
        const auto contents = read(bytes, memory);
        if (!contents.ok()) {
            CHECK(contents.status().code() == Code::bad_format);
            continue;
        }
        // A file that is accepted has a right id map: each id is found in its row.
        IdMap id_map;
        id_map.map(nullptr, contents->buckets);
        CHECK(id_map.matches(contents->ids));
    }
}

TEST(io_errors_have_the_errno) {
    const auto absent = ItemIndex::open("no/such/file");
    CHECK(absent.status().code() == Code::io_error && absent.status().system_error() == 2);
    auto index = ItemIndex::build({}, {nullptr, 0, 4, DType::float32}, {});
    CHECK(index->pinned().save("no/such/file").code() == Code::io_error);
}
