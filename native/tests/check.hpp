// TEST defines a test, CHECK an assertion; main() runs all tests and prints the lines that failed.
#pragma once

#include <cstdio>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "karec/item_index.hpp"

namespace check {

struct Test {
    std::string name;
    std::function<void()> body;
};

inline std::vector<Test>& tests() {
    static std::vector<Test> all;
    return all;
}

inline int& failures() {
    static int count = 0;
    return count;
}

struct Register {
    Register(std::string name, std::function<void()> body) { tests().push_back({std::move(name), std::move(body)}); }
};

inline void check_that(bool holds, const char* condition, const char* file, int line) {
    if (holds) return;
    ++failures();
    std::fprintf(stderr, "%s:%d: failed: %s\n", file, line, condition);
}

}  // namespace check

#define CHECK(condition) ::check::check_that(static_cast<bool>(condition), #condition, __FILE__, __LINE__)
#define TEST(name)                                               \
    static void name();                                          \
    static const ::check::Register register_##name(#name, name); \
    static void name()

int main() {
    if (const karec::Status status = karec::check_isa(); !status.ok()) {
        std::printf("skipped: %s\n", status.message().c_str());
        return 77;
    }
    for (const check::Test& test : check::tests()) {
        const int before = check::failures();
        test.body();
        std::printf("%s %s\n", check::failures() == before ? "ok  " : "FAIL", test.name.c_str());
    }
    return check::failures() == 0 ? 0 : 1;
}
