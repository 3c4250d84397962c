// Chooses the inner loops: the first set, best first, that the machine runs, unless KAREC_FORCE_ISA names another.
#include "dispatch.hpp"

#include <cstdlib>
#include <string_view>

#include "diversity_loops.hpp"
#include "karec/item_index.hpp"

namespace karec {
namespace {

struct Choice {
    const InnerLoops* table;
    bool runs;
};

const InnerLoops& choose() noexcept {
    const Choice best_first[] = {
#if defined(__x86_64__)
        {&avx512::table, __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")},
        {&avx2::table, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c")},
#endif
        {&generic::table, true},
    };
    // Read once, while the table is initialised.
    if (const char* forced = std::getenv("KAREC_FORCE_ISA")) {  // NOLINT(concurrency-mt-unsafe)
        for (const Choice& choice : best_first) {
            if (choice.runs && std::string_view(choice.table->name) == forced) return *choice.table;
        }
    }
    for (const Choice& choice : best_first) {
        if (choice.runs) return *choice.table;
    }
    return generic::table;
}

}  // namespace

const InnerLoops& inner_loops() noexcept {
    static const InnerLoops& table = choose();
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

}  // namespace karec
