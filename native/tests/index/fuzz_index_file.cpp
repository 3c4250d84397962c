// Index files altered at random: each file is opened with and without verification and, if it opens,
// searched, written to and saved. Under Address+UB sanitizers any read outside the file ends the program.
//
//   fuzz_index_file [files, 2000] [seed, 1]
//
// Half of the files get new checksums, so that later checks see the damage.
#include <unistd.h>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "base/seal.hpp"
#include "karec/item_index.hpp"

using namespace karec;

namespace {

using Bytes = std::vector<char>;

constexpr std::size_t kWorks = 70;
constexpr std::size_t kDim = 5;

Bytes saved(DType dtype, const std::string& path) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::vector<std::int64_t> ids(kWorks);
    std::vector<float> vectors(kWorks * kDim);
    const std::vector<double> prices(kWorks, 2.0);
    for (std::size_t i = 0; i < kWorks; ++i) ids[i] = static_cast<std::int64_t>(i * i) - 3;
    for (float& x : vectors) x = normal(random);
    const Column column{"price", DType::float64, std::as_bytes(std::span(prices))};
    const std::vector<std::uint32_t> codes(kWorks, 7);
    const Column code_column{"tag", DType::uint32, std::as_bytes(std::span(codes))};
    ItemIndex::BuildOptions options;
    options.dtype = dtype;
    options.columns = {&column, 1};
    options.code_columns = {&code_column, 1};
    options.rescore = dtype == DType::int8;
    auto index = ItemIndex::build(ids, {vectors.data(), kWorks, kDim, DType::float32}, options);
    if (dtype != DType::float32) {
        const Column few{"price", DType::float64, column.bytes.first(9 * sizeof(double))};
        const std::span<const std::int64_t> some = std::span(ids).first(9);
        const std::vector<float> offsets(9, 1.0f);
        const Column few_codes{"tag", DType::uint32, code_column.bytes.first(9 * sizeof(std::uint32_t))};
        const MatrixView first{vectors.data(), 9, kDim, DType::float32};
        const bool good = index->upsert(some, first, {&few, 1}, 1, 0, {&few_codes, 1}).ok() &&
                          index->adjust(some, {}, offsets).ok() && index->block(some.first(2)).ok();
        if (!good) std::abort();
    }
    if (dtype != DType::int8 &&
        !index->build_lists({dtype == DType::float16 ? std::size_t{1} : std::size_t{9}, 0}).ok()) {
        std::abort();
    }
    if (!index->pinned().save(path).ok()) std::abort();
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

// Calls everything that reads the file's contents.
void use(ItemIndex& index, const std::string& path) {
    const std::size_t dim = index.pinned().dim();
    std::vector<std::int64_t> ids(40);
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int64_t>(i * i) - 3;
    const std::vector<float> query(dim, 0.5f);
    const std::uint32_t known = 7;
    const float bonus = 1.0f;
    const auto names = index.pinned().code_columns();
    const std::vector<CodeTable> tables(names->size(), CodeTable{{&known, 1}, {&bonus, 1}, 0.5f});
    const VersionQuery versions[] = {{0, query, tables}, {1, query}};
    const Query by_version{std::span<const VersionQuery>(versions)};
    std::vector<float> scores(20);
    std::vector<std::int64_t> found(20);
    std::vector<std::int32_t> rows(20);
    std::vector<std::int64_t> positions(20);
    SearchCount count;
    const Ranked out{scores, found, rows, positions};
    const bool searched = index.pinned().search(by_version, Candidates::of_ids(ids), out).ok() &&
                          index.pinned().search_all({&by_version, 1}, {}, out, {&count, 1}).ok();
    const bool probed =
        index.pinned().n_lists() == 0 ||
        index.pinned().search_all({&by_version, 1}, {}, out, {&count, 1}, 1 + index.pinned().n_lists() / 2).ok();
    if (!searched || !probed) std::abort();
    std::vector<float> vectors(rows.size() * dim);
    (void)index.pinned().gather(rows, vectors);
    (void)index.pinned().table();
    (void)index.remove(std::span(ids).first(3));
    (void)index.block(std::span(ids).subspan(3, 3));
    std::vector<std::vector<std::byte>> bytes;
    std::vector<Column> columns;
    const auto table = index.pinned().table();
    for (const Column& column : table.value()->columns) {
        bytes.emplace_back(2 * size_of(column.dtype));
        columns.push_back({column.name, column.dtype, bytes.back()});
    }
    const std::vector<float> two(2 * dim, 0.25f);
    const std::vector<std::uint32_t> two_codes(2, 7);
    std::vector<Column> code_columns;
    for (const std::string& name : names.value()) {
        code_columns.push_back({name, DType::uint32, std::as_bytes(std::span(two_codes))});
    }
    (void)index.upsert(std::span(ids).first(2), {two.data(), 2, dim, DType::float32}, columns, 2, 0, code_columns);
    (void)index.pinned().search(by_version, Candidates::of_ids(ids), out);
    (void)index.build_lists({});
    (void)index.pinned().save(path);
}

}  // namespace

int main(int argc, char** argv) {
    const long files = argc > 1 ? std::strtol(argv[1], nullptr, 10) : 2000;
    std::mt19937_64 random(argc > 2 ? static_cast<std::uint64_t>(std::strtoll(argv[2], nullptr, 10)) : 1);
    const std::string path = "fuzz-" + std::to_string(::getpid()) + ".karec";
    const std::string again = path + "-saved";
    const Bytes wholes[] = {saved(DType::float16, path), saved(DType::float32, path), saved(DType::int8, path)};
    long opened = 0;
    for (long round = 0; round < files; ++round) {
        Bytes bytes = wholes[random() % std::size(wholes)];
        const std::size_t table_end = table_bytes(bytes);
        for (std::uint64_t n = random() % 4 + 1; n > 0; --n) {
            // Mostly header and table, whose numbers the reader follows: single bytes, and whole words.
            const std::size_t limit = random() % 3 == 0 ? bytes.size() : table_end;
            const std::size_t at = random() % limit;
            bytes[at] = static_cast<char>(random());
            if (random() % 4 != 0 || at + 8 > bytes.size()) continue;
            const std::uint64_t word = (std::uint64_t{1} << random() % 64) - random() % 3;
            std::memcpy(bytes.data() + at / 8 * 8, &word, 8);
        }
        if (random() % 16 == 0) bytes.resize(random() % (bytes.size() + 1));
        if (random() % 2 == 0) seal(bytes);
        std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
        for (const bool verify : {true, false}) {
            auto index = ItemIndex::open(path, {verify});
            if (!index.ok() && index.status().code() != Code::bad_format) std::abort();
            if (!index.ok()) continue;
            ++opened;
            use(index.value(), again);
        }
    }
    std::remove(path.c_str());
    std::remove(again.c_str());
    std::printf("%ld altered files, opened %ld times\n", files, opened);
    return 0;
}
