// Chooses the instruction set: the best that the machine runs, unless KAREC_FORCE_ISA names another that it runs.
#include "kernels/isa_table.hpp"

#include <cstdlib>
#include <string>
#include <string_view>

#include "base/boundary.hpp"
#include "karec/item_index.hpp"
#include "kernels/amx_granted.hpp"

namespace karec {
namespace {

struct Choice {
    const IsaTable* table;
    bool runs;
    bool (*granted)() noexcept = []() noexcept { return true; };  // asks the system for what it must grant
};

struct Chosen {
    const IsaTable* table;
    std::string refused;  // why KAREC_FORCE_ISA was not followed
};

Chosen choose() {
#if defined(__x86_64__)
    const bool avx512_runs = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
#endif
    const Choice best_first[] = {
#if defined(__x86_64__)
#if defined(KAREC_AMX)
        {&amx::table, avx512_runs && machine_has_amx(), ask_for_amx},
#endif
        {&avx512::table, avx512_runs},
        {&avx2::table,
         __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")},
#endif
        {&generic::table, true},
    };
    std::string names;
    // Read once, while the choice is initialised.
    const char* forced = std::getenv("KAREC_FORCE_ISA");  // NOLINT(concurrency-mt-unsafe)
    const bool any = forced == nullptr || *forced == 0;
    for (const Choice& choice : best_first) {
        if (!choice.runs) continue;
        if (!any && std::string_view(choice.table->name) != forced) {
            names += (names.empty() ? "" : ", ") + std::string(choice.table->name);
        } else if (choice.granted()) {
            return {choice.table, ""};
        }
    }
    return {&generic::table, "KAREC_FORCE_ISA names '" + std::string(forced) + "', this machine runs " + names};
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
