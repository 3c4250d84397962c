// The user tower of a bundle, run by ONNX Runtime: encoded features of one user → the user's vector.
//
// ONNX Runtime's library is opened at run time, by path; the one in Python's wheel serves
// (site-packages/onnxruntime/capi/libonnxruntime.so.1.x), as does any other from 1.18 on. It stays open until the
// process ends. Building karec needs nothing of ONNX Runtime.
//
// Features come encoded: UserEncoder does it, or the host. inputs() says what the tower asks for.
//
// Functions never throw and print nothing. A tower may run in any number of threads at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "karec/array.hpp"
#include "karec/export.hpp"
#include "karec/status.hpp"

namespace karec {

// A C-contiguous array that the caller owns, by the name of a model's input. dtype: int64 or float32.
struct Tensor {
    std::string_view name;
    DType dtype = DType::float32;
    std::span<const std::int64_t> shape;
    const void* data = nullptr;
};

struct TensorSpec {
    std::string name;
    DType dtype = DType::float32;
    std::vector<std::int64_t> shape;  // −1: any size, as the first axis, rows
};

class KAREC_API UserTower {
  public:
    // Loads `model` with `threads` ≥ 1 threads inside one run, by the library at `onnxruntime`.
    // io_error: model or library cannot be read (system_error() is 0 where the loader refuses the library); bad_format:
    // not a model of a user tower, or not ONNX Runtime; unavailable: the library is older than 1.18.
    // One thread at a time opens a tower. A fork() waits for it, so that the child can open its own.
    static Result<UserTower> open(const std::string& model, const std::string& onnxruntime, int threads) noexcept;

    std::span<const TensorSpec> inputs() const noexcept;
    std::size_t dim() const noexcept;  // D of user_vector; 0 where the model leaves it open
    std::int64_t model_version() const noexcept;

    // out (D) = user_vector of one user. `inputs` of one row each, by name; more than the model asks for is ignored.
    // Refuses a missing input, another dtype, a shape that does not fit, another D than out's. unavailable: ONNX
    // Runtime failed to run it. ONNX Runtime allocates for itself.
    Status run(std::span<const Tensor> inputs, std::span<float> out) const noexcept;

  private:
    struct Session;
    explicit UserTower(std::shared_ptr<const Session> session) noexcept;
    std::shared_ptr<const Session> session_;
};

}  // namespace karec
