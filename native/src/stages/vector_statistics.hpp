// vector_statistics.txt of a bundle: how the vectors of its index lie. docs/formats.md describes the file, and
// karec/bundle/vector_statistics.py writes it.
#pragma once

#include <cstddef>
#include <vector>

#include "karec/bundle.hpp"

namespace karec {

struct VectorStatistics {
    std::vector<double> mean;       // (D,)
    std::vector<double> variances;  // (D,)
    std::vector<double> axes;       // (D, D) by rows, in float32's numbers

    // bad_format: there is none, it is not whole, or it is of another model version, width or index than the bundle's.
    static Result<VectorStatistics> of(const Bundle& bundle, std::size_t dim, bool verify);
};

}  // namespace karec
