// The C interface is what its version says: karec.h, without comments and layout, is compared with the text kept for
// KAREC_ABI_VERSION; every function that it declares is found in the shared library and reached by the fuzzer.
//
//   test_abi HEADER GOLDEN_FOLDER SHARED_LIBRARY FUZZER_SOURCE
//   test_abi HEADER                                              prints what to keep as GOLDEN_FOLDER/abi-VERSION.txt
//
// Where this fails: KAREC_ABI_VERSION in karec.h grows by one, and the new text is kept beside the old ones, which are
// never written again.
#include <dlfcn.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <string>

#include "karec/karec.h"

namespace {

std::string read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

// One declaration or definition a line, one space between words.
std::string normalised(const std::string& header) {
    std::string text = std::regex_replace(header, std::regex(R"(/\*[^*]*\*+([^/*][^*]*\*+)*/)"), " ");
    std::string out;
    std::string rest;
    std::string line;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        line = text.substr(at, end - at);
        at = end + 1;
        if (line.starts_with("#define KAREC_") && line.find(' ', 8) != std::string::npos &&
            line.find("KAREC_C_API") == std::string::npos) {
            out += line + "\n";
        } else if (!line.starts_with('#')) {
            rest += line + " ";
        }
    }
    rest = std::regex_replace(rest, std::regex(R"(extern "C" \{|\}\s*$)"), " ");
    rest = std::regex_replace(rest, std::regex(R"(KAREC_C_API)"), "");
    rest = std::regex_replace(rest, std::regex(R"(\s+)"), " ");
    int depth = 0;
    for (const char c : rest) {
        depth += c == '{' ? 1 : c == '}' ? -1 : 0;
        if (c != ' ' || (!out.empty() && out.back() != '\n')) out += c;
        if (c == ';' && depth == 0) out += '\n';
    }
    out = std::regex_replace(out, std::regex(R"( +\n)"), "\n");
    return out.substr(0, out.find_last_not_of(" \n") + 1) + "\n";
}

int wrong(const std::string& what) {
    std::fprintf(stderr, "%s\n", what.c_str());
    return 1;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) return 2;
    const std::string now = normalised(read(argv[1]));
    if (argc < 5) return std::fputs(now.c_str(), stdout) < 0;
    const std::string golden = std::string(argv[2]) + "/abi-" + std::to_string(KAREC_ABI_VERSION) + ".txt";
    int failures = 0;
    if (read(golden) != now) {
        failures += wrong("karec.h is not what " + golden + " says: a changed interface needs a new KAREC_ABI_VERSION");
    }
    // NOLINTNEXTLINE(clang-analyzer-optin.taint.GenericTaint): the library is the test's argument
    void* library = ::dlopen(argv[3], RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return wrong(::dlerror());  // NOLINT(concurrency-mt-unsafe)
    const std::string fuzzer = read(argv[4]);
    std::set<std::string> functions;
    const std::regex name(R"((karec_\w+)\()");
    for (std::sregex_iterator at(now.begin(), now.end(), name), end; at != end; ++at) functions.insert((*at)[1]);
    for (const std::string& function : functions) {
        if (::dlsym(library, function.c_str()) == nullptr) failures += wrong(function + " is not in the library");
        if (fuzzer.find(function + "(") == std::string::npos) failures += wrong(function + " is not fuzzed");
    }
    const auto version = reinterpret_cast<std::uint32_t (*)()>(::dlsym(library, "karec_abi_version"));
    if (version == nullptr || version() != KAREC_ABI_VERSION) failures += wrong("the library is of another version");
    if (functions.size() < 30) failures += wrong("too few functions were found in karec.h");
    std::printf("%zu functions of interface version %u\n", functions.size(), KAREC_ABI_VERSION);
    return failures == 0 ? 0 : 1;
}
