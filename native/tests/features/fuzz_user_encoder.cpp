// Alters the files of the encoders, and encodes random users and items with those that open.
//
//   fuzz_user_encoder [files, 20000] [seed, 1]
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "features/golden_bundle.hpp"
#include "features/item_encoder.hpp"
#include "karec/user_encoder.hpp"

using namespace karec;

namespace {

std::mt19937_64 random_bits;

std::string altered(std::string bytes) {
    const std::string parts[] = {"\"",
                                 "[",
                                 "]",
                                 "{",
                                 ",",
                                 "-",
                                 "1e999",
                                 "null",
                                 "(9,)",
                                 "<i4",
                                 "\\u",
                                 std::string(4, '\xFF'),
                                 std::string(8, '\x7F')};
    for (std::uint64_t n = random_bits() % 4 + 1; n > 0; --n) {
        const std::size_t at = random_bits() % (bytes.size() + 1);
        const std::string& part = parts[random_bits() % std::size(parts)];
        switch (random_bits() % 5) {
            case 0:
                bytes.insert(at, part);
                break;
            case 1:
                bytes.erase(at, random_bits() % 20);
                break;
            case 2:
                bytes.replace(at, part.size(), part);
                break;
            default:
                if (at < bytes.size()) bytes[at] = static_cast<char>(random_bits());
        }
    }
    return bytes;
}

void encode(const UserEncoder& encoder) {
    EncodedUser encoded;
    encoded.codes.resize(encoder.n_codes());
    encoded.numbers.resize(encoder.n_numbers());
    const std::int64_t ids[] = {3, 5, 9, 11, -1, static_cast<std::int64_t>(random_bits())};
    const std::vector<std::int64_t> works{70, 10, 40, 20, 5, -1};
    UserState user;
    user.user_id = ids[random_bits() % std::size(ids)];
    if (random_bits() % 3 == 0) user.history = std::span(works).first(random_bits() % works.size());
    const char* const scenes[] = {"home", "city", ""};
    const auto time = random_bits() % 2 == 0 ? 1'700'000'000'000 : static_cast<std::int64_t>(random_bits());
    const Status status = encoder.encode(user, scenes[random_bits() % 3], time, encoded.codes, encoded.numbers);
    if (!status.ok()) std::abort();
    EncodedItems items;
    if (!ItemEncoder(encoder).encode(works, time, encoded, true, items).ok()) std::abort();
}

}  // namespace

int main(int argc, char** argv) {
    const long files = argc > 1 ? std::strtol(argv[1], nullptr, 10) : 20000;
    random_bits.seed(argc > 2 ? static_cast<std::uint64_t>(std::strtoll(argv[2], nullptr, 10)) : 1);
    BundleFolder folder;
    const std::string path = folder.root() + "/bundle";
    write_golden_bundle(path);
    std::vector<std::string> names = Bundle::open(path)->names();
    for (int weight = 0; weight < 20; ++weight) {  // the files that hold more than numbers, more often
        names.emplace_back("encoder.npz");
        names.emplace_back("snapshot/snapshot.json");
    }
    long opened = 0;
    for (long round = 0; round < files; ++round) {
        const std::string& name = names[random_bits() % names.size()];
        const std::string file = std::string(path).append("/").append(name);
        const std::string whole = read_file(file);
        write_file(file, altered(whole));
        write_manifest(path, 1);
        const auto encoder = UserEncoder::open(Bundle::open(path).value(), random_bits() % 2 == 0);
        if (!encoder.ok() && encoder.status().code() != Code::bad_format) std::abort();
        if (encoder.ok()) {
            ++opened;
            encode(encoder.value());
        }
        write_file(file, whole);
    }
    std::printf("%ld altered files, %ld were opened\n", files, opened);
    return opened > files / 50 ? 0 : 1;
}
