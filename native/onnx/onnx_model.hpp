// A model that ONNX Runtime runs on the calling thread: a user tower, or a ranker.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/scratch.hpp"
#include "karec/status.hpp"
#include "karec/user_encoder.hpp"

namespace karec {

// A C-contiguous array of int64 or float32 that the caller owns, by the name of a model's input.
struct Tensor {
    std::string_view name;
    DType dtype = DType::float32;
    ScratchVector<std::int64_t> shape;
    const void* data = nullptr;  // may be nullptr if the shape has no elements
};

// Never changes: any number of threads may use one.
class OnnxModel {
  public:
    // Loads the bytes of an ONNX file, whose weights are inside, with the library at the path `onnxruntime`. `name` is
    // for messages. One thread at a time loads; a fork() waits for it. io_error: the library cannot be read
    // (system_error() is 0 if the loader refuses it); bad_format: not a model, an input that is not a tensor of int64
    // or float32 with a row axis, no model_version, or not ONNX Runtime; unavailable: a library before 1.18.
    static Result<OnnxModel> open(std::span<const std::byte> model, const std::string& name,
                                  const std::string& onnxruntime);

    std::span<const TensorSpec> inputs() const noexcept;
    std::int64_t model_version() const noexcept;
    // bad_format: the metadata lacks `key`.
    Result<std::string> metadata(const char* key) const;
    // The second axis of the output `name`, 0 if the model does not fix it. bad_format: it is not a (rows, D) float32
    // output.
    Result<std::size_t> output_width(std::string_view name) const;
    // bad_format: an input that `available` lacks, or has with another dtype or shape.
    Status check_inputs(std::span<const TensorSpec> available) const;

    // Writes the output `output` to out. `inputs` has all of check_inputs, in any order. unavailable: ONNX Runtime
    // failed, or gave another number of elements. ONNX Runtime allocates.
    Status run(std::span<const Tensor> inputs, const char* output, std::span<float> out) const;

  private:
    struct Session;
    explicit OnnxModel(std::shared_ptr<const Session> session) noexcept : session_(std::move(session)) {}
    std::shared_ptr<const Session> session_;
};

}  // namespace karec
