// Chooses the instruction set: the best that the machine runs, unless KAREC_FORCE_ISA names another that it runs.
#include "kernels/kernels.hpp"

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include <cstdlib>
#include <string>
#include <string_view>

#include "base/boundary.hpp"
#include "karec/item_index.hpp"
#include "kernels/isa.hpp"

#if defined(KAREC_BFLOAT16)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace karec {
namespace {

#if defined(KAREC_BFLOAT16)
// Requests AMX's tile registers from Linux for all threads of this process and its children. Returns false if it
// refuses, as a sandbox does. Afterwards sigaltstack refuses stacks below getauxval(AT_MINSIGSTKSZ).
// Source: Linux, Documentation/arch/x86/xstate.rst.
bool request_tiles() noexcept {
    constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
    constexpr long kTileData = 18;               // the state of tile registers
    return ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
#endif

struct Candidate {
    const Kernels* kernels;
    bool is_supported;
    bool (*request)() noexcept = []() noexcept { return true; };  // permission of the system
};

struct Choice {
    const Kernels* kernels;
    std::string error;  // KAREC_FORCE_ISA names a set that this machine lacks
};

#if defined(__aarch64__)
bool has_bf16() noexcept {
#if defined(__linux__) && defined(HWCAP2_BF16)
    return (::getauxval(AT_HWCAP2) & HWCAP2_BF16) != 0;
#else
    return false;
#endif
}
#endif

Choice choose() {
#if defined(__x86_64__)
    const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                            __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
#if defined(KAREC_BFLOAT16)
    const bool has_bfloat16 = has_avx512 && __builtin_cpu_supports("avx512bf16");
    const bool has_amx = has_bfloat16 && __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16");
#endif
#endif
    const Candidate best_first[] = {
#if defined(__x86_64__)
#if defined(KAREC_BFLOAT16)
        {&amx::table, has_amx, request_tiles},
        {&avx512bf16::table, has_bfloat16},
#endif
        {&avx512::table, has_avx512},
        {&avx2::table,
         __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")},
#elif defined(__aarch64__)
        {&neonbf16::table, has_bf16()},
        {&neon::table, true},
#endif
        {&generic::table, true},
    };
    std::string names;
    // Read once, while the choice is initialised.
    const char* forced = std::getenv("KAREC_FORCE_ISA");  // NOLINT(concurrency-mt-unsafe)
    const bool any = forced == nullptr || *forced == 0;
    for (const Candidate& candidate : best_first) {
        if (!candidate.is_supported) continue;
        if (!any && std::string_view(candidate.kernels->isa) != forced) {
            names += (names.empty() ? "" : ", ") + std::string(candidate.kernels->isa);
        } else if (candidate.request()) {
            return {candidate.kernels, ""};
        }
    }
    return {&generic::table, "KAREC_FORCE_ISA names '" + std::string(forced) + "', this machine runs " + names};
}

const Choice& choice() {
    static const Choice once = choose();
    return once;
}

}  // namespace

const Kernels& kernels() noexcept {
    static const Kernels& table = *choice().kernels;
    return table;
}

std::string_view active_isa() noexcept {
    return kernels().isa;
}

Status check_isa() noexcept {
    return at_boundary([]() -> Status { return choice().error.empty() ? Status{} : Status::invalid(choice().error); });
}

}  // namespace karec
