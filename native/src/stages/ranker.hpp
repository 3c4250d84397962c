// The ranker of a bundle: a user and items in, logits by task out.
//
// Algorithm  encodes the items and their crosses (features/item_encoder.hpp), sums the trees of ranker.trees.npz
//            (trees/tree_ensemble.hpp) or the rows of ranker.sums.npz (sums/row_sums.hpp) if the bundle has one, and
//            runs the rest of the model once for all items.
// Bits       those of Python's step ranker: the same inputs, the same ONNX Runtime on one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "features/item_encoder.hpp"
#include "onnx/onnx_model.hpp"
#include "sums/row_sums.hpp"
#include "trees/trees_file.hpp"

namespace karec {

// Never changes: any number of threads may use one.
class Ranker {
  public:
    // Opens ranker.onnx of `bundle` with the ONNX Runtime at the path `onnxruntime`; `users` is of the same bundle.
    // bad_format: a file is damaged, of another model version, or reads an input that this library does not compute.
    static Result<Ranker> open(const Bundle& bundle, const UserEncoder& users, const std::string& onnxruntime,
                               bool verify);

    std::span<const std::string> tasks() const noexcept { return tasks_; }

    // Writes logits (N, T) of the items `ids` (N,) at `time_ms`. `user_tensors`: `user`, by the outputs of its encoder.
    Status run(const EncodedUser& user, std::span<const Tensor> user_tensors, std::span<const std::int64_t> ids,
               std::int64_t time_ms, std::span<float> logits) const;

  private:
    Ranker(ItemEncoder items, OnnxModel model) noexcept : items_(std::move(items)), model_(std::move(model)) {}
    Status check_inputs(std::vector<TensorSpec> available);
    Status check_sums(std::vector<TensorSpec>& available) const;
    Status read_tasks();

    ItemEncoder items_;
    OnnxModel model_;  // without the trees or row sums
    std::vector<InputTrees> trees_;
    std::optional<RowSums> sums_;
    std::vector<std::string> tasks_;
    bool has_dense_ = false;
};

}  // namespace karec
