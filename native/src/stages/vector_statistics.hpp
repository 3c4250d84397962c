// Reads vector_statistics.npz of a bundle (docs/formats.md): mean and principal axes of the vectors of its index.
#pragma once

#include <cstddef>
#include <vector>

#include "karec/bundle.hpp"

namespace karec {

struct VectorStatistics {
    std::vector<double> mean;       // (D,)
    std::vector<double> variances;  // (D,)
    std::vector<double> axes;       // (D, D), one axis a row, rounded to float32

    // bad_format: the file is missing or damaged, or of another model version, width or index than the bundle's.
    static Result<VectorStatistics> read(const Bundle& bundle, std::size_t dim, bool verify);
};

}  // namespace karec
