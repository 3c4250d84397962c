// ONNX Runtime, from a library that is opened at run time.
#pragma once

#include <string>

#include "karec/status.hpp"
#include "onnx_api.hpp"

namespace karec {

// The library's functions, and the environment of the process.
struct OnnxRuntime {
    onnx::Api api;
    onnx::Env* env = nullptr;

    // Each path is opened once and never closed: ONNX Runtime crashes when it is unloaded while its threads run.
    static Result<const OnnxRuntime*> open(const std::string& library);

    // ok, or what ONNX Runtime's status says, which is released.
    Status status_of(onnx::Status* status, Code code, const std::string& what) const;
};

}  // namespace karec
