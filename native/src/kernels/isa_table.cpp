// Chooses the inner loops: the first set, best first, that the machine runs, unless KAREC_FORCE_ISA names another.
#include "kernels/scoring_kernels.hpp"

#include <cstdlib>
#include <string>
#include <string_view>

#include "base/boundary.hpp"
#include "karec/item_index.hpp"
#include "kernels/diversity_kernels.hpp"

namespace karec {
namespace {

struct Choice {
    const InnerLoops* table;
    bool runs;
};

struct Chosen {
    const InnerLoops* table;
    std::string refused;  // why KAREC_FORCE_ISA was not followed
};

Chosen choose() {
    const Choice best_first[] = {
#if defined(__x86_64__)
        {&avx512::table, __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")},
        {&avx2::table,
         __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")},
#endif
        {&generic::table, true},
    };
    const InnerLoops* best = nullptr;
    std::string names;
    // Read once, while the choice is initialised.
    const char* forced = std::getenv("KAREC_FORCE_ISA");  // NOLINT(concurrency-mt-unsafe)
    for (const Choice& choice : best_first) {
        if (!choice.runs) continue;
        if (forced != nullptr && std::string_view(choice.table->name) == forced) return {choice.table, ""};
        if (best == nullptr) best = choice.table;
        names += (names.empty() ? "" : ", ") + std::string(choice.table->name);
    }
    if (forced == nullptr || *forced == 0) return {best, ""};
    return {best, "KAREC_FORCE_ISA names '" + std::string(forced) + "', this machine runs " + names};
}

const Chosen& chosen() {
    static const Chosen once = choose();
    return once;
}

}  // namespace

const InnerLoops& inner_loops() noexcept {
    static const InnerLoops& table = *chosen().table;
    return table;
}

const DiversityLoops& diversity_loops() noexcept {
#if defined(__x86_64__)
    static const DiversityLoops& table = &inner_loops() == &avx512::table ? avx512::diversity_table
                                         : &inner_loops() == &avx2::table ? avx2::diversity_table
                                                                          : generic::diversity_table;
    return table;
#else
    return generic::diversity_table;
#endif
}

std::string_view active_isa() noexcept {
    return inner_loops().name;
}

Status check_isa() noexcept {
    return at_boundary(
        []() -> Status { return chosen().refused.empty() ? Status{} : Status::invalid(chosen().refused); });
}

}  // namespace karec
