// The two readers of text files, manifest and prerank settings, against altered ones, most of them sealed again.
//
//   fuzz_sealed_text [files, 20000] [seed, 1]
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

#include "karec/bundle.hpp"
#include "karec/stage_settings.hpp"
#include "stages/bundle_files.hpp"

using namespace karec;

int main(int argc, char** argv) {
    const long files = argc > 1 ? std::strtol(argv[1], nullptr, 10) : 20000;
    std::mt19937_64 random(argc > 2 ? static_cast<std::uint64_t>(std::strtoll(argv[2], nullptr, 10)) : 1);
    BundleFolder folder;
    folder.publish(1);
    const std::string manifest_path = folder.folder(1) + "/manifest.txt";
    const std::string manifest = read_file(manifest_path);
    const std::string parts[] = {" ",
                                 "\n",
                                 "=",
                                 "%",
                                 "%2",
                                 "%00",
                                 "k=",
                                 "step ",
                                 "seal ",
                                 "weights.type.1=1",
                                 "weights.=",
                                 "1e999",
                                 "-1",
                                 "nan",
                                 "99999999999999999999",
                                 std::string(300, 'x')};
    long read = 0;
    for (long round = 0; round < files; ++round) {
        const bool stage = round % 2 == 0;
        std::string text = stage ? kBundleStage : manifest.substr(0, manifest.rfind("seal"));
        for (std::uint64_t n = random() % 4; n > 0; --n) {
            const std::size_t at = random() % (text.size() + 1);
            switch (random() % 4) {
                case 0:
                    text.insert(at, parts[random() % std::size(parts)]);
                    break;
                case 1:
                    text.erase(at, random() % 20);
                    break;
                case 2:
                    if (at < text.size()) text[at] = static_cast<char>(random());
                    break;
                default:
                    text.insert(at, text.substr(random() % (text.size() + 1), random() % 40));
            }
        }
        if (random() % 8 != 0) text = sealed(text);
        if (stage) {
            const auto settings = StageSettings::parse(text);
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
    std::printf("%ld altered files, %ld were read\n", files, read);
    return read > files / 50 ? 0 : 1;
}
