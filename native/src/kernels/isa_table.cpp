// Chooses the instruction set: the best that the machine runs, unless KAREC_FORCE_ISA names another that it runs.
#include "kernels/isa_table.hpp"

#include <cstdlib>
#include <string>
#include <string_view>

#include "base/boundary.hpp"
#include "karec/item_index.hpp"

namespace karec {
namespace {

struct Choice {
    const IsaTable* table;
    bool runs;
};

struct Chosen {
    const IsaTable* table;
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
    const IsaTable* best = nullptr;
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

const IsaTable& isa_table() noexcept {
    static const IsaTable& table = *chosen().table;
    return table;
}

std::string_view active_isa() noexcept {
    return isa_table().name;
}

Status check_isa() noexcept {
    return at_boundary(
        []() -> Status { return chosen().refused.empty() ? Status{} : Status::invalid(chosen().refused); });
}

}  // namespace karec
