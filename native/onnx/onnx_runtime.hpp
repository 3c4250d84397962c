// ONNX Runtime's C API, from a library that is opened at run time.
#pragma once

#include <onnxruntime_c_api.h>

#include <string>

#include "karec/status.hpp"

namespace karec {

// The functions, of the newest version that both the headers and the library know, and the process's environment.
struct OnnxRuntime {
    const OrtApi* api = nullptr;
    OrtEnv* env = nullptr;

    // Opened once a path, never closed: ONNX Runtime does not survive being unloaded while its threads live.
    static Result<const OnnxRuntime*> open(const std::string& library);

    // ok, or what the OrtStatus says, which is released.
    Status status_of(OrtStatus* status, Code code, const std::string& what) const;
};

}  // namespace karec
