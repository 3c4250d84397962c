// Whether this process may use AMX's tile registers.
#pragma once

namespace karec {

// The processor has tiles of bfloat16 and int8, and the system saves them for each thread. Changes nothing.
bool machine_has_amx() noexcept;

// Asks Linux for tiles (arch_prctl, ARCH_REQ_XCOMP_PERM), for all threads of this process and its children; false where
// it refuses, as a sandbox does. From then on sigaltstack refuses stacks below getauxval(AT_MINSIGSTKSZ).
bool ask_for_amx() noexcept;

}  // namespace karec
