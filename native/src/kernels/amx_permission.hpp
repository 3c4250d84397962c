// Use of AMX's tile registers by this process.
#pragma once

namespace karec {

// The processor has tiles of bfloat16 and int8, and the system saves them for each thread.
bool has_amx() noexcept;

// Requests tiles from Linux (arch_prctl, ARCH_REQ_XCOMP_PERM) for all threads of this process and its children. Returns
// false if it refuses, as a sandbox does. Afterwards sigaltstack refuses stacks below getauxval(AT_MINSIGSTKSZ).
bool request_amx() noexcept;

}  // namespace karec
