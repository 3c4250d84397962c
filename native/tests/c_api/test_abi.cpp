// Compares karec.h, without comments and layout, with the stored text of KAREC_ABI_VERSION. Each version only adds to
// the one before. Every declared function is in the shared library and in the fuzzer, and each parameter is documented:
// in the comment of the function, or for all functions in the head of the file.
//
//   test_abi HEADER GOLDEN_FOLDER SHARED_LIBRARY FUZZER_SOURCE
//   test_abi HEADER                                              prints the text of GOLDEN_FOLDER/abi-VERSION.txt
//
// If it fails after a release: increase KAREC_ABI_VERSION by one and store the new text in a new file.
#include <dlfcn.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "karec/karec.h"

namespace {

std::string read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

// One declaration or definition a line, one space between words.
std::string normalised(const std::string& header) {
    std::string text = std::regex_replace(header, std::regex(R"(/\*[^*]*\*+([^/*][^*]*\*+)*/)"), " ");
    text = std::regex_replace(text, std::regex(R"( *\\\n *)"), " ");  // macros of several lines
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

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    return lines;
}

// Returns whether `now` has the line `before`, or the same struct or initialiser with more members at its end.
bool has_declaration(const std::vector<std::string>& now, const std::string& before) {
    if (before.starts_with("#define KAREC_ABI_VERSION")) return true;
    const bool grows = before.starts_with("typedef struct") || before.find("_INIT {") != std::string::npos;
    const std::size_t end = grows ? before.rfind('}') : std::string::npos;
    return std::ranges::any_of(now, [&](const std::string& line) {
        if (line == before) return true;
        if (end == std::string::npos) return false;
        const std::string members = before.substr(0, end);
        return line.starts_with(members.substr(0, members.find_last_not_of(' ') + 1)) &&
               line.ends_with(before.substr(end));
    });
}

// Counts parameters without a line " *   name  meaning" in the comment of their function or in the head of the file.
int count_undocumented(const std::string& header) {
    int failures = 0;
    const std::size_t common = header.find(" * Common parameters");
    const std::string head = header.substr(common, header.find("*/", common) - common);
    const std::regex declaration(R"(/\*((?:[^*]|\*(?!/))*)\*/\s*KAREC_C_API [^;]*?(karec_\w+)\(([^;]*)\);)");
    std::size_t n_documented = 0;
    for (std::sregex_iterator at(header.begin(), header.end(), declaration), last; at != last; ++at) {
        const std::string comment = head + (*at)[1].str();
        const std::string parameters = (*at)[3];
        ++n_documented;
        const std::regex name(R"((\w+)\s*(?:,|$))");
        for (std::sregex_iterator p(parameters.begin(), parameters.end(), name), end; p != end; ++p) {
            if ((*p)[1] == "void") continue;
            const std::regex description("(^|\n) ?\\*? +" + (*p)[1].str() + "  +\\S");
            if (!std::regex_search(comment, description)) {
                std::fprintf(stderr, "%s: %s is not documented\n", (*at)[2].str().c_str(), (*p)[1].str().c_str());
                ++failures;
            }
        }
    }
    const std::regex any(R"(KAREC_C_API [^;]*?karec_\w+\()");
    const auto n_declared =
        std::distance(std::sregex_iterator(header.begin(), header.end(), any), std::sregex_iterator());
    if (n_documented != static_cast<std::size_t>(n_declared)) {
        std::fprintf(stderr, "%zu of %td functions have a comment\n", n_documented, n_declared);
        ++failures;
    }
    return failures;
}

int fail(const std::string& message) {
    std::fprintf(stderr, "%s\n", message.c_str());
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
        failures += fail("karec.h differs from " + golden + ": a changed interface needs a new KAREC_ABI_VERSION");
    }
    for (unsigned version = 2; version <= KAREC_ABI_VERSION; ++version) {
        const auto text = [&](unsigned of) {
            return read(std::string(argv[2]) + "/abi-" + std::to_string(of) + ".txt");
        };
        const std::vector<std::string> newer = lines_of(text(version));
        for (const std::string& line : lines_of(text(version - 1))) {
            if (!has_declaration(newer, line))
                failures += fail("interface version " + std::to_string(version) + " lacks " + line);
        }
    }
    failures += count_undocumented(read(argv[1]));
    // NOLINTNEXTLINE(clang-analyzer-optin.taint.GenericTaint): the library is the test's argument
    void* library = ::dlopen(argv[3], RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return fail(::dlerror());  // NOLINT(concurrency-mt-unsafe)
    const std::string fuzzer = read(argv[4]);
    std::set<std::string> functions;
    const std::regex name(R"((karec_\w+)\()");
    for (std::sregex_iterator at(now.begin(), now.end(), name), end; at != end; ++at) functions.insert((*at)[1]);
    for (const std::string& function : functions) {
        if (::dlsym(library, function.c_str()) == nullptr) failures += fail(function + " is not in the library");
        if (fuzzer.find(function + "(") == std::string::npos) failures += fail(function + " is not fuzzed");
    }
    const auto version = reinterpret_cast<std::uint32_t (*)()>(::dlsym(library, "karec_abi_version"));
    if (version == nullptr || version() != KAREC_ABI_VERSION) failures += fail("the library is of another version");
    if (functions.size() < 30) failures += fail("too few functions were found in karec.h");
    std::printf("%zu functions of interface version %u\n", functions.size(), KAREC_ABI_VERSION);
    return failures == 0 ? 0 : 1;
}
