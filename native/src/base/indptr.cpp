#include "base/indptr.hpp"

#include <string>

namespace karec {

Status check_indptr(const char* name, std::span<const std::int64_t> indptr, std::size_t n_lists, std::size_t n) {
    const std::string is = name;
    if (indptr.size() != n_lists + 1) {
        return Status::invalid(is + " has shape (" + std::to_string(indptr.size()) + ",), expected (" +
                               std::to_string(n_lists + 1) + ",)");
    }
    for (std::size_t u = 0; u <= n_lists; ++u) {
        const std::int64_t least = u == 0 ? 0 : indptr[u - 1];
        if (indptr[u] >= least && (u > 0 || indptr[u] == 0)) continue;
        return Status::invalid(is + " holds " + std::to_string(indptr[u]) + " at position " + std::to_string(u) +
                               ", expected it to start at 0 and never to fall");
    }
    if (indptr.back() == static_cast<std::int64_t>(n)) return {};
    return Status::invalid(is + " ends at " + std::to_string(indptr.back()) + ", expected " + std::to_string(n));
}

}  // namespace karec
