// Reads M.trees.npz: the trees of the ONNX file M.onnx, and the rest of the model (karec/models/trees.py).
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "karec/status.hpp"
#include "trees/tree_ensemble.hpp"

namespace karec {

// The trees that read one input of the model. Their sums are inputs of the rest.
struct InputTrees {
    std::string input;                 // float32 (N, ensemble.n_features())
    std::vector<std::string> outputs;  // float32 (N, 1) each
    TreeEnsemble ensemble;
};

struct TreesFile {
    std::string model_xxh64;  // of M.onnx, 16 hexadecimal digits
    std::vector<InputTrees> inputs;
    std::span<const std::byte> rest;  // the model without these trees, in the bytes that were read

    // bad_format: `npz` is not a trees file, or a damaged one.
    static Result<TreesFile> read(std::span<const std::byte> npz);
};

}  // namespace karec
