// The kernels of one instruction set (ISA), and the choice of the set that this process uses.
//
// generic.cpp, avx2.cpp and avx512.cpp each define one table, by compiling the same loops (scoring_loops.inc,
// lookup_loops.inc, selection_loops.inc, diversity_loops.inc, matrix_loops.inc, bound_loops.inc, tree_loops.inc) for
// other vector widths; avx512.cpp also that of "amx", which differs from "avx512" in its BoundKernels (amx_loops.inc).
// Every table gives the same bits: the order of summation does not depend on the width, and BoundKernels, whose sums
// differ, only choose what is scored.
#pragma once

#include "kernels/bound_kernels.hpp"
#include "kernels/diversity_kernels.hpp"
#include "kernels/lookup_kernels.hpp"
#include "kernels/scoring_kernels.hpp"
#include "kernels/selection_kernels.hpp"
#include "kernels/tree_kernels.hpp"

namespace karec {

struct IsaTable {
    const char* name;  // "generic", "avx2", "avx512", "amx"
    ScoringKernels scoring;
    LookupKernels lookup;
    SelectionKernels selection;
    DiversityKernels diversity;
    BoundKernels bound;
    TreeKernels trees;
};

// The best table that this machine runs, or the one that KAREC_FORCE_ISA names if the machine runs it. Chosen once, at
// the first call; any thread may call it. Linux is asked for AMX's tiles when "amx" is chosen and not else.
const IsaTable& isa_table() noexcept;

inline const ScoringKernels& scoring_kernels() noexcept {
    return isa_table().scoring;
}
inline const LookupKernels& lookup_kernels() noexcept {
    return isa_table().lookup;
}
inline const SelectionKernels& selection_kernels() noexcept {
    return isa_table().selection;
}
inline const DiversityKernels& diversity_kernels() noexcept {
    return isa_table().diversity;
}
inline const BoundKernels& bound_kernels() noexcept {
    return isa_table().bound;
}
inline const TreeKernels& tree_kernels() noexcept {
    return isa_table().trees;
}

namespace generic {
extern const IsaTable table;
}
#if defined(__x86_64__)
namespace avx2 {
extern const IsaTable table;
}
namespace avx512 {
extern const IsaTable table;
}
#if defined(KAREC_AMX)
namespace amx {
extern const IsaTable table;
}
#endif
#endif

}  // namespace karec
