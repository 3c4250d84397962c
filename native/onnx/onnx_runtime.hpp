// ONNX Runtime, from a library that is opened at run time.
#pragma once

#include <mutex>
#include <string>

#include "karec/status.hpp"
#include "onnx_api.hpp"

namespace karec {

// The library's functions, and the environment of the process.
struct OnnxRuntime {
    onnx::Api api;
    onnx::Env* env = nullptr;

    // Held while a library is opened or a model is loaded: one thread does it at a time, and fork() waits for it.
    // Otherwise a child could wait forever for this lock, or for an initialisation inside ONNX Runtime, which a thread
    // of its parent had begun.
    class Loading {
      public:
        Loading();
        // Each path is opened once and never closed: ONNX Runtime crashes when it is unloaded while its threads run.
        Result<const OnnxRuntime*> open(const std::string& library);

      private:
        std::scoped_lock<std::mutex> lock_;
    };

    // ok, or what ONNX Runtime's status says, which is released.
    Status status_of(onnx::Status* status, Code code, const std::string& what) const;

  private:
    struct Libraries;
};

}  // namespace karec
