// The readers of JSON, of manifests and of exported stages, against altered texts.
//
//   fuzz_json [texts, 20000] [seed, 1]
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

#include "base/json.hpp"
#include "karec/bundle.hpp"
#include "stages/bundle_files.hpp"
#include "stages/stage_settings.hpp"

using namespace karec;

namespace {

std::mt19937_64 random_bits;

std::string altered(std::string text) {
    const std::string parts[] = {" ",
                                 "\n",
                                 "\"",
                                 "\\",
                                 "\\u00",
                                 "\\ud800\\udc00",
                                 "{",
                                 "}",
                                 "[",
                                 "]",
                                 ",",
                                 ":",
                                 "null",
                                 "true",
                                 "-1",
                                 "1e999",
                                 "0.5",
                                 "\"k\": 1,",
                                 "\"weights\": [{}]",
                                 "99999999999999999999",
                                 std::string(70, '['),
                                 std::string(300, 'x')};
    for (std::uint64_t n = random_bits() % 4; n > 0; --n) {
        const std::size_t at = random_bits() % (text.size() + 1);
        switch (random_bits() % 4) {
            case 0:
                text.insert(at, parts[random_bits() % std::size(parts)]);
                break;
            case 1:
                text.erase(at, random_bits() % 20);
                break;
            case 2:
                if (at < text.size()) text[at] = static_cast<char>(random_bits());
                break;
            default:
                text.insert(at, text.substr(random_bits() % (text.size() + 1), random_bits() % 40));
        }
    }
    return text;
}

// Reads every value below `value`; returns their number.
std::size_t count_values(JsonValue value) {
    std::size_t n = 1;
    for (const JsonValue element : value) {
        if (value.is_object() && value[element.name()].is_missing()) std::abort();
        n += count_values(element);
    }
    n += value.text().value_or("").size() + static_cast<std::size_t>(value.number().has_value());
    return n;
}

}  // namespace

int main(int argc, char** argv) {
    const long texts = argc > 1 ? std::strtol(argv[1], nullptr, 10) : 20000;
    random_bits.seed(argc > 2 ? static_cast<std::uint64_t>(std::strtoll(argv[2], nullptr, 10)) : 1);
    BundleFolder folder;
    folder.publish(1);
    const std::string manifest_path = folder.folder(1) + "/manifest.json";
    const std::string manifest = read_file(manifest_path);
    long read = 0;
    for (long round = 0; round < texts; ++round) {
        const std::string text = altered(round % 2 == 0 ? kBundleStage : manifest);
        if (const auto json = Json::parse(text); json.ok()) count_values(json->root());
        if (round % 2 == 0) {
            write_file(folder.settings(), text);
            const auto settings = StageSettings::read(folder.settings());
            if (!settings.ok() && settings.status().code() != Code::bad_format) std::abort();
            read += settings.ok();
            continue;
        }
        write_file(manifest_path, text);
        const auto bundle = Bundle::open(folder.root());
        if (!bundle.ok() && bundle.status().code() != Code::bad_format) std::abort();
        if (!bundle.ok()) continue;
        ++read;
        (void)bundle->file("index.karec", true);
    }
    std::printf("%ld altered texts, %ld were read\n", texts, read);
    return read > texts / 50 ? 0 : 1;
}
