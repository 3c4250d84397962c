// Id files altered at random: each is opened with and without verification and, if it opens, read completely.
// Under Address+UB sanitizers any read outside the file ends the program. Half of the files get new checksums, so that
// later checks see the damage.
//
//   fuzz_id_file [files, 2000] [seed, 1]
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "id_files.hpp"

using namespace karec;
using namespace karec::id_files;

namespace {

std::size_t sum = 0;

void use(const StringIds& ids, std::mt19937_64& random) {
    const Flat flat(some_names(50));
    std::vector<std::int64_t> numbers(50);
    bool known[50];
    if (!ids.numbers(flat.strings(), numbers).ok()) std::abort();
    for (int i = 0; i < 20; ++i) numbers.push_back(static_cast<std::int64_t>(random()));
    (void)ids.known(flat.strings(), known);
    std::vector<std::string_view> found(numbers.size());
    (void)ids.names(numbers, found);
    for (const std::string_view name : found) {
        for (const char c : name) sum += static_cast<unsigned char>(c);
    }
}

}  // namespace

int main(int argc, char** argv) {
    const long files = argc > 1 ? std::strtol(argv[1], nullptr, 10) : 2000;
    std::mt19937_64 random(argc > 2 ? static_cast<std::uint64_t>(std::strtoll(argv[2], nullptr, 10)) : 1);
    const Bytes wholes[] = {file_of({}), file_of(some_names(7)), file_of(some_names(300))};
    long opened = 0;
    for (long round = 0; round < files; ++round) {
        Bytes bytes = wholes[random() % std::size(wholes)];
        for (std::uint64_t n = random() % 4 + 1; n > 0; --n) {
            // Half of them in header and table, whose numbers the reader follows: single bytes, and whole words.
            const std::size_t at = random() % (random() % 2 == 0 ? bytes.size() : entry(ids::kSections));
            bytes[at] = static_cast<char>(random());
            if (random() % 4 != 0 || at + 8 > bytes.size()) continue;
            const std::uint64_t word = (std::uint64_t{1} << random() % 64) - random() % 3;
            std::memcpy(bytes.data() + at / 8 * 8, &word, 8);
        }
        if (random() % 16 == 0) bytes.resize(random() % (bytes.size() + 1));
        if (random() % 2 == 0) seal(bytes);
        for (const bool verify : {true, false}) {
            const auto ids = open_bytes(bytes, verify);
            if (!ids.ok() && ids.status().code() != Code::bad_format) std::abort();
            if (!ids.ok()) continue;
            ++opened;
            use(ids.value(), random);
        }
    }
    std::printf("%ld altered files, opened %ld times, %zu\n", files, opened, sum % 10);
    return 0;
}
