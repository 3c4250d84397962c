// ONNX Runtime's C API, from a library that is opened at run time.
#pragma once

#include <onnxruntime_c_api.h>

#include <string>

#include "karec/status.hpp"

namespace karec {

// The API, in the newest version that both the headers and the library have, and the environment of the process.
struct OnnxRuntime {
    const OrtApi* api = nullptr;
    OrtEnv* env = nullptr;

    // Each path is opened once and never closed: ONNX Runtime crashes when it is unloaded while its threads run.
    static Result<const OnnxRuntime*> open(const std::string& library);

    // ok, or what the OrtStatus says, which is released.
    Status status_of(OrtStatus* status, Code code, const std::string& what) const;
};

}  // namespace karec
