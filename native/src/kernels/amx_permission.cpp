// Source: Linux, Documentation/arch/x86/xstate.rst; Intel 64 and IA-32 Architectures Software Developer's Manual,
// volume 1, chapter 18 (AMX).
#include "kernels/amx_permission.hpp"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace karec {
namespace {

constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
constexpr long kTileData = 18;               // the state of tile registers
constexpr std::uint64_t kTileStates = 3u << 17;

__attribute__((target("xsave"))) std::uint64_t saved_states() noexcept {
    return static_cast<std::uint64_t>(_xgetbv(0));
}

}  // namespace

bool has_amx() noexcept {
    unsigned a = 0;
    unsigned b = 0;
    unsigned c = 0;
    unsigned d = 0;
    if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c >> 27 & 1) == 0) return false;  // OSXSAVE: _xgetbv may be called
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
    const bool tiles = (d >> 22 & 1) != 0 && (d >> 24 & 1) != 0 && (d >> 25 & 1) != 0;  // bfloat16, tiles, int8
    if (!tiles || __get_cpuid_count(7, 1, &a, &b, &c, &d) == 0) return false;
    const bool bfloat16 = (a >> 5 & 1) != 0;  // AVX-512's conversions
    return bfloat16 && (saved_states() & kTileStates) == kTileStates;
}

bool request_amx() noexcept {
    return ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace karec
#else
namespace karec {

bool has_amx() noexcept {
    return false;
}

bool request_amx() noexcept {
    return false;
}

}  // namespace karec
#endif
